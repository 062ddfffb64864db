#include "presence.h"

#include <cjson/cJSON.h>

#include "check.h"
#include "reports.h"

static int64_t now = 5000;

/* The next report as text, valid until the next call; "" where none is due. It arrives, or not. */
static const char *report(struct presence *presence, bool arrives)
{
    static char text[65536];
    char *body = presence_begin(presence, now);

    text[0] = '\0';
    if (body == NULL) return text;
    CHECK(strlen(body) <= REPORT_MAX, "no report is longer");
    (void)snprintf(text, sizeof text, "%s", body);
    presence_end(presence, arrives);
    cJSON_free(body);
    return text;
}

static struct presence *followed(void)
{
    struct presence *presence = presence_new(now - 7);

    CHECK(presence != NULL, "new");
    CHECK(strcmp(report(presence, false), "{\"began\":7,\"connections\":[]}") == 0, "began");
    now += 1000;
    CHECK(strcmp(report(presence, true), "{\"began\":1007,\"connections\":[]}") == 0, "until it has arrived");
    now += 1000;
    CHECK(report(presence, true)[0] == '\0', "and then not again");
    return presence;
}

#define ONE(id, connected, age) "{\"clientid\":\"" id "\",\"connected\":" connected ",\"age\":" age "}"
#define TOLD(rows) "{\"connections\":[" rows "]}"

static void check_states(void)
{
    struct presence *presence = followed();

    CHECK(presence_note(presence, "c1", true, now) && presence_note(presence, "c2", false, now + 300), "note");
    now += 999;
    CHECK(report(presence, true)[0] == '\0', "not yet");
    now += 1;
    CHECK(strcmp(report(presence, false), TOLD(ONE("c1", "true", "1000"))) == 0, "a second later");
    now += 999;
    CHECK(report(presence, true)[0] == '\0', "once a second");
    now += 1;
    CHECK(strcmp(report(presence, true), TOLD(ONE("c1", "true", "2000") "," ONE("c2", "false", "1700"))) == 0, "again");
    CHECK(presence_count(presence) == 0, "told");
    CHECK(presence_note(presence, "c1", false, now) && presence_note(presence, "c1", true, now + 400), "gone and come");
    now += 1000;
    CHECK(strcmp(report(presence, true), TOLD(ONE("c1", "true", "600"))) == 0, "the last of it");
    presence_free(presence);
}

/* Whoever comes and goes all the time is told of in its turn, as one row. */
static void check_flood(void)
{
    struct presence *presence = followed();
    int told = 0;

    for (int i = 0; i < 5000; i++) {
        CHECK(presence_note(presence, "c1", i % 2 == 0, now), "note");
        CHECK(presence_count(presence) <= 1, "one state");
        now += 1;
        if (report(presence, true)[0] != '\0') told++;
    }
    CHECK(told >= 2 && told <= 5, "about once a second");
    presence_free(presence);
}

/* What changes while a report is under way is told by a later one, whether that one arrives or not. */
static void check_changed_meanwhile(void)
{
    for (int arrives = 0; arrives < 2; arrives++) {
        struct presence *presence = followed();
        char *body;

        CHECK(presence_note(presence, "c1", true, now) && presence_note(presence, "c2", true, now), "note");
        now += 1000;
        body = presence_begin(presence, now);
        CHECK(body != NULL && strstr(body, "c1") != NULL, "under way");
        cJSON_free(body);
        CHECK(presence_note(presence, "c1", false, now), "changed");
        presence_end(presence, arrives != 0);
        CHECK(presence_count(presence) == (arrives ? 1 : 2), "what is left to tell");
        now += 1000;
        body = presence_begin(presence, now);
        CHECK(body != NULL && strstr(body, ONE("c1", "false", "1000")) != NULL, "as it is now");
        CHECK((strstr(body, "c2") == NULL) == (arrives != 0), "and what did not arrive");
        cJSON_free(body);
        presence_end(presence, true);
        CHECK(presence_count(presence) == 0, "told");
        presence_free(presence);
    }
}

/* A thousand at a time, by turns, and within what the hooks read; beyond a bound the rest is left out. */
static void check_bounds(void)
{
    struct presence *presence = followed();
    char id[300];
    size_t left, reports = 0;

    for (size_t i = 0; i < 200000; i++) {
        (void)snprintf(id, sizeof id, "c%zu", i);
        CHECK(presence_note(presence, id, false, now), "room");
    }
    CHECK(!presence_note(presence, "one more", false, now), "no room");
    CHECK(presence_note(presence, "c7", true, now), "but for those that are there");
    now += 1000;
    for (left = presence_count(presence); left > 197000; left = presence_count(presence)) {
        CHECK(report(presence, true)[0] != '\0', "due");
        CHECK(left - presence_count(presence) <= 1000, "bounded");
        reports++;
        now += 1000;
    }
    CHECK(reports <= 5, "and not much less");
    presence_free(presence);
    presence = followed();
    memset(id, 'x', sizeof id);
    for (size_t i = 0; i < 400; i++) {
        (void)snprintf(id + 245, sizeof id - 245, "%zu", i);
        CHECK(presence_note(presence, id, true, now), "room");
    }
    for (now += 1000; presence_count(presence) > 0; now += 1000) CHECK(report(presence, true)[0] != '\0', "long names");
    presence_free(presence);
}

int main(void)
{
    check_states();
    check_flood();
    check_changed_meanwhile();
    check_bounds();
    DONE();
    return 0;
}
