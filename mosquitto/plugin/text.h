/* Checks on text that came from somebody else. */
#ifndef PROVISIONING_TEXT_H
#define PROVISIONING_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Whether the bytes are UTF-8 as RFC 3629 has it: no overlong form, no surrogate, nothing above U+10FFFF. */
bool text_is_utf8(const char *bytes, size_t length);

#endif
