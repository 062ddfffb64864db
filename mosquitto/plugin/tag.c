#include "tag.h"

#include <string.h>
#include <sys/random.h>

/* Aumasson and Bernstein, "SipHash: a fast short-input PRF", section 2, with the authors' variant of 128 bits. */
struct sip {
    uint64_t v0, v1, v2, v3;
    uint64_t word;   /* bytes that do not fill a word yet, the first one lowest */
    uint64_t length; /* of everything so far; the last byte of the last word says its value modulo 256 */
};

static uint64_t rotate(uint64_t value, unsigned bits)
{
    return (value << bits) | (value >> (64 - bits));
}

static void rounds(struct sip *sip, int count)
{
    for (int i = 0; i < count; i++) {
        sip->v0 += sip->v1;
        sip->v2 += sip->v3;
        sip->v1 = rotate(sip->v1, 13) ^ sip->v0;
        sip->v3 = rotate(sip->v3, 16) ^ sip->v2;
        sip->v0 = rotate(sip->v0, 32);
        sip->v2 += sip->v1;
        sip->v0 += sip->v3;
        sip->v1 = rotate(sip->v1, 17) ^ sip->v2;
        sip->v3 = rotate(sip->v3, 21) ^ sip->v0;
        sip->v2 = rotate(sip->v2, 32);
    }
}

static void absorb(struct sip *sip, uint64_t word)
{
    sip->v3 ^= word;
    rounds(sip, 2);
    sip->v0 ^= word;
}

static struct sip begin(const struct tag_key *key)
{
    return (struct sip){
        .v0 = key->k0 ^ 0x736f6d6570736575U,
        .v1 = key->k1 ^ 0x646f72616e646f6dU ^ 0xeeU,
        .v2 = key->k0 ^ 0x6c7967656e657261U,
        .v3 = key->k1 ^ 0x7465646279746573U,
    };
}

static void add_byte(struct sip *sip, uint8_t byte)
{
    sip->word |= (uint64_t)byte << (8 * (sip->length % 8));
    sip->length++;
    if (sip->length % 8 == 0) {
        absorb(sip, sip->word);
        sip->word = 0;
    }
}

static void add_bytes(struct sip *sip, const void *bytes, size_t length)
{
    const uint8_t *byte = bytes;

    for (size_t i = 0; i < length; i++) add_byte(sip, byte[i]);
}

static void add_string(struct sip *sip, const char *text)
{
    const uint64_t length = strlen(text);

    for (unsigned i = 0; i < 8; i++) add_byte(sip, (uint8_t)(length >> (8 * i)));
    add_bytes(sip, text, (size_t)length);
}

static uint64_t finish(struct sip *sip)
{
    rounds(sip, 4);
    return sip->v0 ^ sip->v1 ^ sip->v2 ^ sip->v3;
}

static struct tag end(struct sip *sip)
{
    struct tag tag;

    absorb(sip, sip->word | (sip->length << 56));
    sip->v2 ^= 0xeeU;
    tag.low = finish(sip);
    sip->v1 ^= 0xddU;
    tag.high = finish(sip);
    return tag;
}

bool tag_key_new(struct tag_key *key)
{
    /* Up to 256 bytes come whole or not at all: getrandom(2). */
    return getrandom(key, sizeof *key, 0) == (ssize_t)sizeof *key;
}

struct tag tag_of_bytes(const struct tag_key *key, const void *bytes, size_t length)
{
    struct sip sip = begin(key);

    add_bytes(&sip, bytes, length);
    return end(&sip);
}

struct tag tag_of(const struct tag_key *key, const char *first, const char *second, const char *third)
{
    struct sip sip = begin(key);

    add_string(&sip, first);
    add_string(&sip, second);
    add_string(&sip, third);
    return end(&sip);
}

bool tag_equal(struct tag a, struct tag b)
{
    /* In one expression, so that the time taken tells nothing about which half differs. */
    return ((a.low ^ b.low) | (a.high ^ b.high)) == 0;
}
