#include "grants.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "topics.h"

#define READ 1
#define WRITE 2
#define SUBSCRIBE 4
#define ALL (READ | WRITE | SUBSCRIBE)

/* Each grant is a byte of accesses, its filter and a NUL, one behind the other: a client has about seven, and a broker
 * a hundred thousand clients. */
struct grants {
    size_t length;
    char bytes[];
};

static const char *filter_of(const cJSON *grant)
{
    const cJSON *filter = cJSON_GetArrayItem(grant, 0);

    return cJSON_IsString(filter) && topics_is_filter(filter->valuestring) ? filter->valuestring : NULL;
}

/* 0: no such accesses. */
static char accesses_of(const cJSON *grant)
{
    const cJSON *accesses = cJSON_GetArrayItem(grant, 1);

    if (!cJSON_IsNumber(accesses) || accesses->valuedouble != (double)accesses->valueint) return 0;
    return accesses->valueint >= 1 && accesses->valueint <= ALL ? (char)accesses->valueint : 0;
}

/* Bytes that the list takes; false: it is no list of grants. */
static bool measure(const cJSON *list, size_t *length)
{
    const cJSON *grant;

    *length = 0;
    if (!cJSON_IsArray(list)) return false;
    cJSON_ArrayForEach(grant, list) {
        const char *filter;

        if (!cJSON_IsArray(grant) || cJSON_GetArraySize(grant) != 2) return false;
        filter = filter_of(grant);
        if (filter == NULL || accesses_of(grant) == 0) return false;
        *length += strlen(filter) + 2;
    }
    return true;
}

struct grants *grants_from_json(const cJSON *list)
{
    struct grants *grants;
    const cJSON *grant;
    char *place;
    size_t length;

    if (!measure(list, &length)) return NULL;
    grants = malloc(sizeof *grants + length);
    if (grants == NULL) return NULL;
    grants->length = length;
    place = grants->bytes;
    cJSON_ArrayForEach(grant, list) {
        const char *filter = filter_of(grant);
        const size_t size = strlen(filter) + 1;

        *place++ = accesses_of(grant);
        memcpy(place, filter, size);
        place += size;
    }
    return grants;
}

void grants_free(struct grants *grants)
{
    free(grants);
}

static const char *refuse_question(int acc, const char *topic)
{
    if (acc == SUBSCRIBE) {
        if (!topics_is_filter(topic)) return "malformed_topic";
        return strncmp(topic, "$share/", 7) == 0 ? "shared_subscription" : NULL;
    }
    if (acc != READ && acc != WRITE) return "unknown_access";
    return topics_is_name(topic) ? NULL : "malformed_topic";
}

const char *grants_refuse(const struct grants *grants, int acc, const char *topic)
{
    const char *refused = refuse_question(acc, topic);
    const char *end = grants->bytes + grants->length;

    if (refused != NULL) return refused;
    for (const char *grant = grants->bytes; grant < end; grant += strlen(grant + 1) + 2) {
        if ((grant[0] & acc) != 0 && topics_cover(grant + 1, topic)) return NULL;
    }
    return "no_grant";
}

size_t grants_size(const struct grants *grants)
{
    return grants != NULL ? sizeof *grants + grants->length : 0;
}
