/* The feed's last changes, for logins whose grants were read before them: the hooks may answer from memory. */
#ifndef PROVISIONING_RECENT_H
#define PROVISIONING_RECENT_H

#include <stdbool.h>
#include <stdint.h>

#define RECENT_CHANGES 256

struct recent {
    struct {
        uint64_t as_of, hash; /* hash 0: of everybody */
    } changes[RECENT_CHANGES];
    unsigned next;
    uint64_t forgotten; /* as_of of the latest that is no longer here */
};

/* A change of this name, or of everybody (NULL), told at this position. */
void recent_note(struct recent *recent, uint64_t as_of, const char *name);

/* Whether what was read at a position may lack a change of one of these names. (Positions are the oldest transaction
 * still open: of two that are equal the one may have what the other lacks.) */
bool recent_may_concern(const struct recent *recent, uint64_t as_of, const char *client_id, const char *username);

#endif
