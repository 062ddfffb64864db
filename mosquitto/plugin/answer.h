/* What an answer of the hooks means. */
#ifndef PROVISIONING_ANSWER_H
#define PROVISIONING_ANSWER_H

#include <stddef.h>

enum verdict {
    VERDICT_ERROR = 0, /* no verdict was given: nobody is let in, and nobody is told that he is refused */
    VERDICT_DENIED,
    VERDICT_ALLOWED
};

/* For VERDICT_ERROR *why is set to the reason, a constant text. */
enum verdict answer_verdict(long status, const char *body, size_t length, const char **why);

#endif
