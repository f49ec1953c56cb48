/* SPDX-License-Identifier: Apache-2.0 */
/* Between output.c and end.c. */
#ifndef CHANNEL_H
#define CHANNEL_H

_Noreturn void power_off(void);
/* Forgets what is buffered: in a child it is the parent's. */
void output_drop(void);
/* Writes past the buffer and powers off; for signal handlers. */
_Noreturn void output_last_words(const char *text);

#endif
