"""Started once by the kill tests: imports the harness, then forks one `attestbench run` per line.

A forked child is killed like any process, but has not to import everything again. It is reaped
only when the next line asks for it, so that its process id can't be reused before.
"""

import os
import sys
from importlib import import_module

from harness.cli.main import invoke

# The pilot needs scipy, whose import would dwarf the trials.
for module in ("harness.cli.run", "harness.stats.size"):
    import_module(module)


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 70
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            try:
                code = invoke(line.split())
            finally:
                os._exit(code)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        sys.stdin.readline()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
