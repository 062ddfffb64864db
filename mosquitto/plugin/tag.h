/* A keyed digest of a few strings: SipHash-2-4 with 128 bits.
 *
 * The table of clients keeps this in place of a client id, username and password of up to 64 kB each, so that an
 * entry has a fixed size and no password stays in our memory. */
#ifndef PROVISIONING_TAG_H
#define PROVISIONING_TAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tag_key {
    uint64_t k0, k1;
};

struct tag {
    uint64_t low, high;
};

/* A new random key; false if the system has no random bytes. */
bool tag_key_new(struct tag_key *key);

/* The digest of some bytes: what the published vectors are about. */
struct tag tag_of_bytes(const struct tag_key *key, const void *bytes, size_t length);

/* The digest of three strings, each behind its length, so that moving a boundary gives another digest. */
struct tag tag_of(const struct tag_key *key, const char *first, const char *second, const char *third);

bool tag_equal(struct tag a, struct tag b);

#endif
