#include "recent.h"

#include <stddef.h>

/* FNV-1a; a collision costs a question more. */
static uint64_t hash_of(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325U;

    if (name == NULL) return 0;
    for (; *name != '\0'; name++) hash = (hash ^ (unsigned char)*name) * 0x100000001b3U;
    return hash != 0 ? hash : 1;
}

void recent_note(struct recent *recent, uint64_t as_of, const char *name)
{
    const unsigned place = recent->next;

    if (recent->changes[place].as_of > recent->forgotten) recent->forgotten = recent->changes[place].as_of;
    recent->changes[place].as_of = as_of;
    recent->changes[place].hash = hash_of(name);
    recent->next = (place + 1) % RECENT_CHANGES;
}

bool recent_may_concern(const struct recent *recent, uint64_t as_of, const char *client_id, const char *username)
{
    const uint64_t hashes[] = {0, hash_of(client_id), hash_of(username)};

    if (as_of <= recent->forgotten) return true;
    for (unsigned i = 0; i < RECENT_CHANGES; i++) {
        if (as_of > recent->changes[i].as_of) continue;
        for (size_t j = 0; j < sizeof hashes / sizeof hashes[0]; j++) {
            if (recent->changes[i].hash == hashes[j]) return true;
        }
    }
    return false;
}
