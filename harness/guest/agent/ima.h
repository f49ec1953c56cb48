/* SPDX-License-Identifier: Apache-2.0 */
/* The measurement lists of IMA, as user space sees them. */
#ifndef IMA_H
#define IMA_H

#include "agent.h"

#define IMA_FOLDER "/sys/kernel/security/ima"
#define IMA_LIST IMA_FOLDER "/binary_runtime_measurements"

/* Whether the kernel keeps a list per measurement domain. */
bool ima_has_domains(void);
/* Records every domain's aggregate in the list; fails without domains. */
void ima_seal(void);
/* The ids of all domains, ascending; the caller frees them. */
long *ima_domains(size_t *count);
/* Sends `ns.list` and the list of each domain, if the kernel has domains. */
void ima_send_domains(void);
void ima_send_list(void);
/* Reads one number from a file of securityfs, proc or sysfs. */
long read_number(const char *path);

#endif
