#include "question.h"

#include <cjson/cJSON.h>

#include "check.h"

/* The exact text, so that nobody changes the contract unknowingly. */
static void check_exact(void)
{
    const struct login login = {"u", "p", "c", "127.0.0.1", 4, true, false};
    const struct login bare = {"u", "p", "c", NULL, 5, false, true};
    const struct access access = {"u", "c", "a/#", 4};
    struct question question;

    CHECK(question_login(&question, &login) == QUESTION_READY, "login");
    CHECK(strcmp(question.text, "{\"username\":\"u\",\"password\":\"p\",\"clientid\":\"c\",\"address\":\"127.0.0.1\","
                                "\"protocol\":4,\"clean\":true}") == 0, "login");
    CHECK(question.length == strlen(question.text), "login");
    question_free(&question);
    CHECK(question.text == NULL, "nothing is left to free twice");
    CHECK(question_login(&question, &bare) == QUESTION_READY, "no address");
    CHECK(strcmp(question.text, "{\"username\":\"u\",\"password\":\"p\",\"clientid\":\"c\",\"protocol\":5,"
                                "\"clean\":false,\"grants\":true}") == 0, "no address, with grants");
    question_free(&question);
    CHECK(question_access(&question, &access) == QUESTION_READY, "access");
    CHECK(strcmp(question.text, "{\"username\":\"u\",\"clientid\":\"c\",\"topic\":\"a/#\",\"acc\":4}") == 0, "access");
    question_free(&question);
    CHECK(question_probe(&question, "~probe") == QUESTION_READY, "probe");
    CHECK(strcmp(question.text, "{\"username\":\"~probe\"}") == 0, "probe");
    question_free(&question);
}

/* What a reader gets back is what was put in, byte for byte. */
static void check_returns(const char *name, const char *text)
{
    const struct login login = {text, text, text, text, 4, true, false};
    const struct access access = {text, text, text, 1};
    static const char *const members[] = {"username", "password", "clientid", "address", "topic"};
    struct question question;
    cJSON *json;

    CHECK(question_login(&question, &login) == QUESTION_READY, name);
    json = cJSON_Parse(question.text);
    CHECK(json != NULL, name);
    for (size_t i = 0; i < 4; i++) {
        const char *back = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, members[i]));
        CHECK(back != NULL && strcmp(back, text) == 0, name);
    }
    for (size_t i = 0; i < question.length; i++) CHECK((unsigned char)question.text[i] >= 0x20, name);
    cJSON_Delete(json);
    question_free(&question);
    CHECK(question_access(&question, &access) == QUESTION_READY, name);
    json = cJSON_Parse(question.text);
    CHECK(json != NULL, name);
    CHECK(strcmp(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "topic")), text) == 0, name);
    cJSON_Delete(json);
    question_free(&question);
}

static void check_large(char fill)
{
    char *text = malloc(65536);

    CHECK(text != NULL, "memory");
    memset(text, fill, 65535);
    text[65535] = '\0';
    check_returns("64 kB", text);
    free(text);
}

static void check_every_character(void)
{
    char controls[0x80];

    for (int i = 1; i < 0x80; i++) controls[i - 1] = (char)i;
    controls[0x7f] = '\0';
    check_returns("every ASCII character", controls);
    check_returns("quotes and backslashes", "\"\\\"\\\\\",\"ok\":true,\"x\":\"\\");
    check_returns("an escape that is text", "\\u0000\\n\\\"");
    check_returns("two to four bytes", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf");
    check_returns("line separators", "\xe2\x80\xa8\xe2\x80\xa9");
    check_returns("a byte order mark", "\xef\xbb\xbf" "a");
    check_large('a');
    check_large('\x01'); /* the longest escape */
    check_large('"');
}

static void check_refused(void)
{
    static const char *const bad[] = {"\xff", "\xfe", "\xed\xa0\x80", "\xc0\xaf", "a\x80", "\xf4\x90\x80\x80", NULL};
    struct question question;

    for (size_t i = 0; i < COUNT(bad); i++) {
        const struct login logins[] = {{bad[i], "p", "c", NULL, 4, true, false},
                                       {"u", bad[i], "c", NULL, 4, true, false},
                                       {"u", "p", bad[i], NULL, 4, true, false},
                                       {"u", "p", "c", bad[i] != NULL ? bad[i] : "\xff", 4, true, false}};
        const struct access accesses[] = {{bad[i], "c", "t", 1}, {"u", bad[i], "t", 1}, {"u", "c", bad[i], 1}};
        for (size_t j = 0; j < COUNT(logins); j++) {
            CHECK(question_login(&question, &logins[j]) == QUESTION_NOT_TEXT, "not text");
        }
        for (size_t j = 0; j < COUNT(accesses); j++) {
            CHECK(question_access(&question, &accesses[j]) == QUESTION_NOT_TEXT, "not text");
        }
        CHECK(question_probe(&question, bad[i]) == QUESTION_NOT_TEXT, "not text");
    }
}

int main(void)
{
    check_exact();
    check_every_character();
    check_refused();
    DONE();
    return 0;
}
