// SPDX-License-Identifier: Apache-2.0
/* application: programs of the root image, run in a container of the agent with the image as its
 * root, tmpfs on /tmp and /run, and a ramfs (which IMA measures) on /mnt.
 */
#include "image.h"
#include "web.h"
#include "worker.h"

#include <stdio.h>
#include <string.h>

#define WORK "/data/work"
#define TCC "/usr/bin/tcc"
#define SQLITE "/usr/bin/sqlite3"
#define LIGHTTPD "/usr/sbin/lighttpd"
#define REDIS_SERVER "/usr/bin/redis-server"
#define REDIS_BENCHMARK "/usr/bin/redis-benchmark"

enum {
	UNITS = 8,	     /* translation units of the compile */
	FUNCTIONS = 60,	     /* in each */
	ROWS = 600,	     /* that sqlite inserts */
	PAGES = 16,	     /* of the web site */
	PAGE_SIZE = 4096,
	REQUESTS = 200,
	REDIS_REQUESTS = 1000,
	WEB_PORT = 8080,
	REDIS_PORT = 6379,
	TEXT_ROOM = 64 * 1024,
	MOST_RUNS = 1000,
};

static char text[TEXT_ROOM];

static void prepare_compile(void)
{
	char path[TEXT_LENGTH];

	for (int unit = 0; unit < UNITS; unit++) {
		size_t n = (size_t)snprintf(text, sizeof(text), "static int base%d = %d;\n", unit, unit);

		for (int f = 0; f < FUNCTIONS; f++)
			n += (size_t)snprintf(text + n, sizeof(text) - n,
					      "int f%d_%d(int x)\n{\n\tint sum = base%d;\n"
					      "\tfor (int i = 0; i < x; i++)\n"
					      "\t\tsum += (i ^ %d) * (sum %% 7 + %d);\n"
					      "\treturn sum > %d ? sum : -sum;\n}\n",
					      unit, f, unit, f, f + 1, unit * f);
		snprintf(path, sizeof(path), WORK "/unit%d.c", unit);
		make_text(path, text);
	}
}

static void run_compile(long run)
{
	char source[TEXT_LENGTH], object[TEXT_LENGTH];
	const char *const argv[] = { TCC, "-c", source, "-o", object, NULL };

	for (int unit = 0; unit < UNITS; unit++) {
		snprintf(source, sizeof(source), "/mnt/unit%d.c", unit);
		snprintf(object, sizeof(object), "/tmp/unit%d.%ld.o", unit, run);
		run_program(argv);
	}
}

static void prepare_sqlite(void)
{
	size_t n = (size_t)snprintf(text, sizeof(text),
				    "create table t(k integer primary key, name text, v integer);\nbegin;\n");

	for (int i = 0; i < ROWS; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n,
				      "insert into t values(%d,'row %d',%d);\n", i, i * 7919 % ROWS,
				      i * 104729 % 1009);
	snprintf(text + n, sizeof(text) - n,
		 "commit;\ncreate index by_value on t(v);\n"
		 "select v, count(*), max(name) from t group by v order by 2 desc limit 5;\n"
		 "update t set v = v + 1 where k %% 3 = 0;\ndelete from t where v %% 5 = 0;\n"
		 "select count(*) from t a join t b on a.v = b.v;\n");
	make_text(WORK "/script.sql", text);
}

static void run_sqlite(long run)
{
	char database[TEXT_LENGTH];
	const char *const argv[] = { SQLITE, "-batch", database, ".read /mnt/script.sql", NULL };

	snprintf(database, sizeof(database), "/tmp/%ld.db", run);
	run_program(argv);
}

static void prepare_web(void)
{
	char path[TEXT_LENGTH];

	make_text(WORK "/lighttpd.conf", "server.document-root = \"/mnt\"\nserver.port = 8080\n"
					 "server.bind = \"127.0.0.1\"\n");
	for (int i = 0; i < PAGES; i++) {
		snprintf(path, sizeof(path), WORK "/page%d", i);
		make_file(path, PAGE_SIZE, (uint64_t)(8000000 + i));
	}
}

static pid_t start_web(void)
{
	const char *const argv[] = { LIGHTTPD, "-D", "-f", "/mnt/lighttpd.conf", NULL };
	pid_t pid = start_program(argv);

	wait_for_port(WEB_PORT);
	return pid;
}

static void load_web(long run)
{
	char path[TEXT_LENGTH];

	(void)run;
	for (int i = 0; i < REQUESTS; i++) {
		snprintf(path, sizeof(path), "/page%d", i % PAGES);
		get_page(WEB_PORT, path, PAGE_SIZE);
	}
}

static pid_t start_redis(void)
{
	const char *const argv[] = {
		REDIS_SERVER, "--port", "6379", "--bind", "127.0.0.1", "--save", "",
		"--appendonly", "no", "--dir", "/tmp", "--daemonize", "no", NULL,
	};
	pid_t pid = start_program(argv);

	wait_for_port(REDIS_PORT);
	return pid;
}

static void load_redis(long run)
{
	char requests[16];
	const char *const argv[] = {
		REDIS_BENCHMARK, "-h", "127.0.0.1", "-n", requests, "-c", "1", "-t", "set,get", "-q", NULL,
	};

	(void)run;
	snprintf(requests, sizeof(requests), "%d", REDIS_REQUESTS);
	run_program(argv);
}

static const struct application {
	const char *name;
	const char *programs[2];
	void (*prepare)(void); /* in the guest: files below WORK */
	pid_t (*start)(void);  /* in the container, not timed: a server */
	void (*run)(long run); /* in the container, timed */
} applications[] = {
	{ "compile", { TCC }, prepare_compile, NULL, run_compile },
	{ "sqlite", { SQLITE }, prepare_sqlite, NULL, run_sqlite },
	{ "web", { LIGHTTPD }, prepare_web, start_web, load_web },
	{ "redis", { REDIS_SERVER, REDIS_BENCHMARK }, NULL, start_redis, load_redis },
};

struct run {
	size_t application;
	long count;
};

static void run_in_container(const void *arguments)
{
	const struct run *r = arguments;
	const struct application *app = &applications[r->application];
	pid_t server = app->start == NULL ? 0 : app->start();

	for (long i = 0; i <= r->count; i++) {
		uint64_t begin = now();

		app->run(i);
		sample(i == 0 ? FIRST : MEASURED, i == 0 ? 0 : i - 1, now() - begin, "%s", app->name);
	}
	if (server != 0)
		stop_program(server);
}

static void run_one(size_t number, long count)
{
	const struct application *app = &applications[number];
	struct container c = { .root = IMAGE, .work = WORK };
	struct run r = { .application = number, .count = count };
	struct worker w;

	for (size_t i = 0; i < ARRAY_LENGTH(app->programs); i++)
		if (app->programs[i] != NULL)
			need_program(app->programs[i]);
	snprintf(c.id, sizeof(c.id), "%s", app->name);
	empty_folder(WORK);
	if (app->prepare != NULL)
		app->prepare();
	container_start(&w, &c);
	worker_call(&w, run_in_container, &r, sizeof(r));
	worker_stop(&w);
	container_remove(c.id);
	samples_print();
}

void run_application(const struct directive *d)
{
	const char *names = directive_text(d, "names", "compile,sqlite,web,redis");
	long count = directive_number(d, "count", 3, 1, MOST_RUNS);
	char name[TEXT_LENGTH];

	bring_up_loopback();
	while (list_next(&names, name, sizeof(name))) {
		size_t i = 0;

		while (i < ARRAY_LENGTH(applications) && strcmp(applications[i].name, name) != 0)
			i++;
		if (i == ARRAY_LENGTH(applications))
			fail("job: application has no %s: compile, sqlite, web, redis", name);
		run_one(i, count);
	}
}
