#include "reports.h"

#include <cjson/cJSON.h>

#include "check.h"

#define KINDS 256

static int64_t now = 5000;

/* How many are told of in the next report, which arrives or not; 0: none is due. */
static int told(struct reports *reports, bool arrives)
{
    char *body = reports_begin(reports, now);
    cJSON *document;
    int count;

    now += 1000;
    if (body == NULL) return 0;
    CHECK(strlen(body) <= REPORT_MAX, "the hooks read it");
    document = cJSON_Parse(body);
    count = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(document, "refused"));
    cJSON_Delete(document);
    cJSON_free(body);
    reports_end(reports, arrives);
    return count;
}

/* As long as they may be, of characters that JSON writes as two. */
static void refuse_longest(struct reports *reports, int number)
{
    char name[256], topic[600];

    memset(name, '"', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    (void)snprintf(name, 4, "%03d", number);
    name[3] = '"';
    memset(topic, '\\', sizeof topic - 1);
    topic[sizeof topic - 1] = '\0';
    reports_note_refused(reports, &(struct refusal){name, name, topic, 2, "no_grant"}, now);
}

static void check_counts(void)
{
    struct reports *reports = reports_new();
    const struct refusal refusal = {"c1", "alice", "a/b", 2, "no_grant"};

    CHECK(reports != NULL, "new");
    CHECK(told(reports, true) == 0, "nothing to tell");
    reports_note_refused(reports, &refusal, now);
    CHECK(told(reports, false) == 1 && told(reports, true) == 1 && told(reports, true) == 0, "until it has arrived");
    reports_note_refused(reports, &refusal, now);
    CHECK(told(reports, true) == 0, "once a minute");
    now += 60000;
    CHECK(told(reports, true) == 1, "and then again");
    reports_free(reports);
}

static void check_size(void)
{
    struct reports *reports = reports_new();
    int sum = 0;

    CHECK(reports != NULL, "new");
    for (int i = 0; i < KINDS; i++) refuse_longest(reports, i);
    CHECK(told(reports, false) > 1, "as many as fit");
    for (int i = 0; i < KINDS && sum < KINDS; i++) sum += told(reports, true);
    CHECK(sum == KINDS, "each one is told of once");
    CHECK(told(reports, true) == 0, "and no more");
    reports_free(reports);
}

int main(void)
{
    check_counts();
    check_size();
    DONE();
    return 0;
}
