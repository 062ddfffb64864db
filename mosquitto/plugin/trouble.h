/* Keeps the log short while the hooks are away: then every packet of every client is a trouble of its own. */
#ifndef PROVISIONING_TROUBLE_H
#define PROVISIONING_TROUBLE_H

#include <stdbool.h>
#include <time.h>

struct trouble {
    time_t last;            /* second of the last line written */
    unsigned long unwritten; /* since then */
    bool any;
};

/* Whether to write a line now: one a second. *unwritten is how many were left out before this one. */
bool trouble_is_written(struct trouble *trouble, time_t now, unsigned long *unwritten);

#endif
