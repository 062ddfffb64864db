#include "text.h"

#include <stdint.h>

struct sequence {
    size_t length;      /* bytes in all; 0: no sequence begins like this */
    uint8_t second_min; /* the second byte is what tells overlong forms, surrogates and too large values */
    uint8_t second_max;
};

/* The table of RFC 3629, section 4. */
static struct sequence sequence_of(uint8_t first)
{
    if (first <= 0x7f) return (struct sequence){1, 0x80, 0xbf};
    if (first >= 0xc2 && first <= 0xdf) return (struct sequence){2, 0x80, 0xbf};
    if (first == 0xe0) return (struct sequence){3, 0xa0, 0xbf};
    if (first == 0xed) return (struct sequence){3, 0x80, 0x9f};
    if (first >= 0xe1 && first <= 0xef) return (struct sequence){3, 0x80, 0xbf};
    if (first == 0xf0) return (struct sequence){4, 0x90, 0xbf};
    if (first >= 0xf1 && first <= 0xf3) return (struct sequence){4, 0x80, 0xbf};
    if (first == 0xf4) return (struct sequence){4, 0x80, 0x8f};
    return (struct sequence){0, 0, 0};
}

static bool sequence_follows(const uint8_t *bytes, struct sequence expected)
{
    if (expected.length > 1 && (bytes[1] < expected.second_min || bytes[1] > expected.second_max)) return false;
    for (size_t i = 2; i < expected.length; i++) {
        if ((bytes[i] & 0xc0) != 0x80) return false;
    }
    return true;
}

bool text_is_utf8(const char *bytes, size_t length)
{
    const uint8_t *text = (const uint8_t *)bytes;
    size_t i = 0;

    while (i < length) {
        const struct sequence expected = sequence_of(text[i]);
        if (expected.length == 0 || expected.length > length - i) return false;
        if (!sequence_follows(text + i, expected)) return false;
        i += expected.length;
    }
    return true;
}
