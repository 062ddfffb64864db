#include "tag.h"

#include "check.h"

/* The designers' test: key 00 01 ... 0f, message 00 01 ... of growing length. The values are those of OpenSSL 3:
 * openssl mac -macopt hexkey:000102030405060708090a0b0c0d0e0f -macopt size:16 -in MESSAGE SIPHASH */
static const struct {
    size_t length;
    const char *digest;
} vectors[] = {
    {0, "A3817F04BA25A8E66DF67214C7550293"},
    {1, "DA87C1D86B99AF44347659119B22FC45"},
    {7, "A1F1EBBED8DBC153C0B84AA61FF08239"},
    {8, "3B62A9BA6258F5610F83E264F31497B4"},
    {15, "5493E99933B0A8117E08EC0F97CFC3D9"},
    {16, "6EE2A4CA67B054BBFD3315BF85230577"},
    {63, "5150D1772F50834A503E069A973FBD7C"},
};

static void print_hex(char *text, struct tag tag)
{
    for (size_t i = 0; i < 16; i++) {
        const uint64_t half = i < 8 ? tag.low : tag.high;
        (void)snprintf(text + 2 * i, 3, "%02X", (unsigned)((half >> (8 * (i % 8))) & 0xff));
    }
}

static void check_vectors(void)
{
    const struct tag_key key = {0x0706050403020100U, 0x0f0e0d0c0b0a0908U};
    unsigned char message[64];
    char digest[33];

    for (size_t i = 0; i < sizeof message; i++) message[i] = (unsigned char)i;
    for (size_t i = 0; i < COUNT(vectors); i++) {
        print_hex(digest, tag_of_bytes(&key, message, vectors[i].length));
        CHECK(strcmp(digest, vectors[i].digest) == 0, vectors[i].digest);
    }
}

int main(void)
{
    struct tag_key key, other;
    struct tag tag;

    check_vectors();
    CHECK(tag_key_new(&key) && tag_key_new(&other), "random bytes");
    CHECK(key.k0 != other.k0 || key.k1 != other.k1, "keys differ");
    tag = tag_of(&key, "ab", "c", "d");
    CHECK(tag_equal(tag, tag_of(&key, "ab", "c", "d")), "the same again");
    CHECK(!tag_equal(tag, tag_of(&other, "ab", "c", "d")), "another key");
    CHECK(!tag_equal(tag, tag_of(&key, "a", "bc", "d")), "a boundary moved");
    CHECK(!tag_equal(tag, tag_of(&key, "ab", "", "cd")), "a boundary moved");
    CHECK(!tag_equal(tag, tag_of(&key, "c", "ab", "d")), "parts exchanged");
    tag.high ^= 1;
    CHECK(!tag_equal(tag, tag_of(&key, "ab", "c", "d")), "the upper half counts");
    DONE();
    return 0;
}
