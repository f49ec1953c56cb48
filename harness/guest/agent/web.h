/* SPDX-License-Identifier: Apache-2.0 */
/* The load generator of the web application, over loopback. */
#ifndef WEB_H
#define WEB_H

#include "agent.h"

/* Waits until something listens on 127.0.0.1:port; fails after ten seconds. */
void wait_for_port(uint16_t port);
/* Gets one page over a new connection; fails unless it arrives whole. */
void get_page(uint16_t port, const char *path, size_t size);

#endif
