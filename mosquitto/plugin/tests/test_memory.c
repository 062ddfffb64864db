/* Runs each part again and again, the n-th allocation failing at the n-th time: it must say so, and leak nothing. */
#include <cjson/cJSON.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <unistd.h>

#include "answer.h"
#include "check.h"
#include "options.h"
#include "question.h"
#include "secret.h"
#include "presence.h"
#include "reports.h"
#include "sessions.h"

static long left = -1; /* allocations until one fails; negative: none does */

static int fails(void)
{
    return left >= 0 && left-- == 0;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t length);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t length);

void *__wrap_malloc(size_t size) { return fails() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size) { return fails() ? NULL : __real_calloc(count, size); }
char *__wrap_strdup(const char *text) { return fails() ? NULL : __real_strdup(text); }
char *__wrap_strndup(const char *text, size_t length) { return fails() ? NULL : __real_strndup(text, length); }

static bool options_once(void)
{
    char names[][12] = {"url", "broker", "secret_file", "ca_file"};
    char values[][12] = {"https://h", "b", "/s", "/c"};
    struct mosquitto_opt list[] = {
        {names[0], values[0]}, {names[1], values[1]}, {names[2], values[2]}, {names[3], values[3]}};
    struct options options;
    char why[256];

    if (!options_read(&options, list, 4, why, sizeof why)) return false;
    options_free(&options);
    return true;
}

static bool secret_once(void)
{
    char path[] = "/tmp/memory-XXXXXX";
    char why[256];
    const int descriptor = mkstemp(path);
    char *secret;

    CHECK(descriptor >= 0 && write(descriptor, "s\n", 2) == 2 && close(descriptor) == 0, "mkstemp");
    secret = secret_read(path, why, sizeof why);
    CHECK(unlink(path) == 0, "unlink");
    secret_free(secret);
    return secret != NULL;
}

static bool question_once(void)
{
    const struct login login = {"u", "p", "c", "a", 4, true, true};
    const struct access access = {"u", "c", "t", 1};
    struct question question;

    if (question_login(&question, &login) != QUESTION_READY) return false;
    question_free(&question);
    if (question_access(&question, &access) != QUESTION_READY) return false;
    question_free(&question);
    if (question_probe(&question, "u") != QUESTION_READY) return false;
    question_free(&question);
    return true;
}

static bool grants_once(void)
{
    static const char body[] = "{\"ok\":true,\"as_of\":\"1\",\"grants\":[[\"a/#\",1]]}";
    const char *why = NULL;
    uint64_t as_of;
    cJSON *document = answer_document(200, body, sizeof body - 1, &why);
    struct grants *grants = document != NULL ? answer_grants(document, &as_of) : NULL;
    const bool good = grants != NULL;

    cJSON_Delete(document);
    grants_free(grants);
    return good;
}

static bool reports_once(void)
{
    struct reports *reports = reports_new();
    char *body = NULL;

    if (reports == NULL) return false;
    reports_note_refused(reports, &(struct refusal){"c", "u", "t", 2, "no_grant"}, 1);
    body = reports_begin(reports, 1);
    reports_end(reports, body != NULL);
    cJSON_free(body);
    reports_free(reports);
    return body != NULL;
}

static bool presence_once(void)
{
    struct presence *presence = presence_new(0);
    bool good = false;
    char *body;

    if (presence == NULL) return false;
    if (presence_note(presence, "c", true, 1) && presence_note(presence, "d", false, 1)) {
        body = presence_begin(presence, 2000);
        good = body != NULL;
        presence_end(presence, good);
        CHECK(presence_count(presence) == (good ? 0 : 2), "told, or kept");
        cJSON_free(body);
    }
    presence_free(presence);
    return good;
}

static bool answer_once(void)
{
    static const char body[] = "{\"error\":\"x\",\"ok\":true}";
    const char *why = NULL;

    return answer_verdict(200, body, sizeof body - 1, &why) == VERDICT_ALLOWED;
}

static bool sessions_once(void)
{
    static const char places[600] = {0};
    const struct identity identity = {"c", "u", "p"};
    struct sessions *sessions = sessions_new(10);
    bool good = true;

    if (sessions == NULL) return false;
    for (size_t i = 0; i < sizeof places; i++) {
        /* Without memory for a larger table everybody is still found, so growing may fail unseen. */
        const bool admitted = sessions_admit(sessions, &places[i], &identity, NULL);
        CHECK(sessions_recognise(sessions, &places[i], &identity, false) == admitted, "known if admitted");
        good = good && admitted;
    }
    sessions_free(sessions);
    return good;
}

static const struct {
    const char *name;
    bool (*once)(void);
} parts[] = {
    {"options", options_once}, {"secret", secret_once},     {"question", question_once},
    {"answer", answer_once},   {"sessions", sessions_once}, {"grants", grants_once},
    {"reports", reports_once}, {"presence", presence_once},
};

int main(void)
{
    cJSON_Hooks hooks = {__wrap_malloc, free};

    cJSON_InitHooks(&hooks);
    for (size_t i = 0; i < COUNT(parts); i++) {
        long n = 0;
        int failures = 0;
        for (;; n++) {
            left = n;
            if (!parts[i].once()) failures++;
            if (left >= 0) break; /* fewer allocations than n: none failed */
        }
        left = -1;
        CHECK(failures > 0 && n < 2000, parts[i].name);
        CHECK(parts[i].once(), parts[i].name);
    }
    DONE();
    return 0;
}
