#include "topics.h"

#include <string.h>

#include "text.h"

#define LONGEST 65535

/* One level of a filter; `rest` is what comes behind its slash, NULL behind the last one. */
struct level {
    const char *start;
    size_t length;
    const char *rest;
};

static struct level next_level(const char *text)
{
    const size_t length = strcspn(text, "/");

    return (struct level){text, length, text[length] == '/' ? text + length + 1 : NULL};
}

static bool is_wildcard(struct level level, char wildcard)
{
    return level.length == 1 && level.start[0] == wildcard;
}

static bool same(struct level a, struct level b)
{
    return a.length == b.length && memcmp(a.start, b.start, a.length) == 0;
}

/* Past the levels that are equal letter by letter, but for the last one of either: most grants begin with such. */
static void skip_same(const char **wide, const char **narrow)
{
    const char *a = *wide, *b = *narrow;

    for (; *a != '\0' && *a == *b && *a != '+' && *a != '#'; a++, b++) {
        if (*a != '/') continue;
        *wide = a + 1;
        *narrow = b + 1;
    }
}

bool topics_cover(const char *wide, const char *narrow)
{
    /* Section 4.7.2: a filter that starts with a wildcard does not match a topic that starts with `$`. */
    if (narrow[0] == '$' && wide[0] != '$') return false;
    skip_same(&wide, &narrow);
    while (wide != NULL) {
        const struct level of_wide = next_level(wide);
        struct level of_narrow;

        if (is_wildcard(of_wide, '#')) return of_wide.rest == NULL;
        if (narrow == NULL) return false;
        of_narrow = next_level(narrow);
        if (is_wildcard(of_wide, '+') ? is_wildcard(of_narrow, '#') : !same(of_wide, of_narrow)) return false;
        wide = of_wide.rest;
        narrow = of_narrow.rest;
    }
    return narrow == NULL;
}

bool topics_is_filter(const char *text)
{
    const size_t length = strlen(text);

    if (length == 0 || length > LONGEST || !text_is_utf8(text, length)) return false;
    while (text != NULL) {
        const struct level level = next_level(text);
        const size_t plain = strcspn(level.start, "+#/");

        if (plain < level.length && level.length != 1) return false;
        if (is_wildcard(level, '#') && level.rest != NULL) return false;
        text = level.rest;
    }
    return true;
}

bool topics_is_name(const char *text)
{
    size_t length = 0;

    /* Nearly all are of ASCII alone, and one look at each byte is enough: this is asked once a delivery. */
    while (text[length] != '\0' && (text[length] & 0x80) == 0 && text[length] != '+' && text[length] != '#') length++;
    if (text[length] == '\0') return length > 0 && length <= LONGEST;
    return (text[length] & 0x80) != 0 && strpbrk(text, "+#") == NULL && topics_is_filter(text);
}
