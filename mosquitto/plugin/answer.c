#include "answer.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "text.h"

static enum verdict no_verdict(const char **why, const char *reason)
{
    *why = reason;
    return VERDICT_ERROR;
}

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

/* cJSON skips every control character, NUL too, as if it were a space. */
static bool has_forbidden_control(const char *body, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)body[i] < 0x20 && !is_space(body[i])) return true;
    }
    return false;
}

/* cJSON's strings end at a NUL, so the name "ok\u0000x" would be read as "ok". */
static bool has_escaped_nul(const char *body, size_t length)
{
    static const char nul[] = {'\\', 'u', '0', '0', '0', '0'};

    for (size_t i = 0; i + sizeof nul <= length; i++) {
        if (memcmp(body + i, nul, sizeof nul) == 0) return true;
    }
    return false;
}

/* The whole body as one JSON value with nothing behind it, or NULL. cJSON also steps over a byte order mark, hence
 * the look at the first byte: the only values that mean anything here are an object and null. */
static cJSON *parse(const char *body, size_t length)
{
    const char *end = NULL;
    size_t start = 0;
    cJSON *json;

    while (start < length && is_space(body[start])) start++;
    if (start == length || (body[start] != '{' && body[start] != 'n')) return NULL;
    if (has_forbidden_control(body, length) || has_escaped_nul(body, length)) return NULL;
    if (!text_is_utf8(body, length)) return NULL;
    json = cJSON_ParseWithLengthOpts(body, length, &end, false);
    if (json == NULL) return NULL;
    while (end < body + length && is_space(*end)) end++;
    if (end == body + length) return json;
    cJSON_Delete(json);
    return NULL;
}

/* The member "ok", if there is exactly one and it is spelt so. *clear is false where two readers could see different
 * things: "ok" twice, or "OK", which Go's decoder takes for "ok". */
static const cJSON *find_ok(const cJSON *object, bool *clear)
{
    const cJSON *found = NULL;
    const cJSON *member;

    *clear = true;
    cJSON_ArrayForEach(member, object) {
        if (strcasecmp(member->string, "ok") != 0) continue;
        if (found != NULL || strcmp(member->string, "ok") != 0) *clear = false;
        found = member;
    }
    return found;
}

static enum verdict judge(const cJSON *json, const char **why)
{
    const cJSON *ok;
    bool clear;

    if (cJSON_IsNull(json)) return VERDICT_DENIED;
    ok = find_ok(json, &clear);
    if (!clear) return no_verdict(why, "the member \"ok\" is there twice or misspelt");
    if (ok == NULL || cJSON_IsNull(ok) || cJSON_IsFalse(ok)) return VERDICT_DENIED;
    if (cJSON_IsTrue(ok)) return VERDICT_ALLOWED;
    return no_verdict(why, "the member \"ok\" is neither true nor false");
}

static enum verdict judge_body(const char *body, size_t length, const char **why)
{
    cJSON *json = parse(body, length);
    enum verdict verdict;

    if (json == NULL) return no_verdict(why, "the body is not a JSON object");
    verdict = judge(json, why);
    cJSON_Delete(json);
    return verdict;
}

/* These speak of the broker, of the address or of the moment, not of the device. A device that is told "not
 * authorised" may give up for good; one that is cut off comes back. */
static const char *blames_us(long status)
{
    switch (status) {
    case 401: return "401: the broker's name or secret is not accepted any more";
    case 404: return "404: there are no hooks at this url";
    case 405: return "405: there are no hooks at this url";
    case 407: return "407: a proxy answers in the place of the hooks";
    case 408: return "408: the hooks did not get the question in time";
    case 429: return "429: the hooks are overloaded";
    default: return NULL;
    }
}

cJSON *answer_document(long status, const char *body, size_t length, const char **why)
{
    cJSON *json;

    if (status != 200) {
        const char *blame = blames_us(status);

        *why = blame != NULL ? blame : "a status that is no answer";
        return NULL;
    }
    json = parse(body, length);
    if (json == NULL) {
        *why = "the body is not a JSON object";
    } else if (judge(json, why) != VERDICT_ALLOWED) {
        *why = "the answer is not ok";
        cJSON_Delete(json);
        json = NULL;
    }
    return json;
}

bool answer_number(const cJSON *text, uint64_t *number)
{
    const char *digits;
    size_t length;

    if (!cJSON_IsString(text)) return false;
    digits = text->valuestring;
    length = strlen(digits);
    if (length == 0 || length > 20 || strspn(digits, "0123456789") != length) return false;
    errno = 0;
    *number = strtoull(digits, NULL, 10);
    return errno == 0;
}

struct grants *answer_grants(const cJSON *document, uint64_t *as_of)
{
    if (!answer_number(cJSON_GetObjectItemCaseSensitive(document, "as_of"), as_of)) return NULL;
    return grants_from_json(cJSON_GetObjectItemCaseSensitive(document, "grants"));
}

enum verdict answer_verdict(long status, const char *body, size_t length, const char **why)
{
    const char *blame = blames_us(status);

    if (blame != NULL) return no_verdict(why, blame);
    if (status == 200) return judge_body(body, length, why);
    if (status >= 400 && status <= 499) return VERDICT_DENIED;
    if (status >= 500 && status <= 599) return no_verdict(why, "5xx: the hooks are in trouble");
    return no_verdict(why, "a status that the hooks never send");
}
