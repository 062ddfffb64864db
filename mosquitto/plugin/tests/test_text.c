#include "text.h"

#include "check.h"

static const struct {
    const char *name;
    const char *bytes;
    bool good;
} cases[] = {
    {"nothing", "", true},
    {"ASCII", "abc\x01\x7f", true},
    {"two bytes", "\xc2\x80\xdf\xbf", true},
    {"three bytes", "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", true},
    {"four bytes", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", true},
    {"a lone continuation", "\x80", false},
    {"0xff", "\xff", false},
    {"0xfe", "\xfe", false},
    {"cut after one of two", "\xc3", false},
    {"cut after two of three", "\xe2\x82", false},
    {"cut after three of four", "\xf0\x9f\x98", false},
    {"a letter in the middle", "\xe2" "a\xac", false},
    {"a letter at the end", "\xe2\x82" "a", false},
    {"overlong slash in two", "\xc0\xaf", false},
    {"overlong in two, the last", "\xc1\xbf", false},
    {"overlong in three", "\xe0\x9f\xbf", false},
    {"overlong in four", "\xf0\x8f\xbf\xbf", false},
    {"first surrogate", "\xed\xa0\x80", false},
    {"last surrogate", "\xed\xbf\xbf", false},
    {"above U+10FFFF", "\xf4\x90\x80\x80", false},
    {"five bytes", "\xf8\x88\x80\x80\x80", false},
};

int main(void)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        /* An exact copy on the heap, so that AddressSanitizer sees a step over its end. */
        const size_t length = strlen(cases[i].bytes);
        char *copy = malloc(length + (length == 0));
        CHECK(copy != NULL, cases[i].name);
        memcpy(copy, cases[i].bytes, length);
        CHECK(text_is_utf8(copy, length) == cases[i].good, cases[i].name);
        free(copy);
    }
    CHECK(text_is_utf8("a\0b", 3), "a NUL is a character");
    DONE();
    return 0;
}
