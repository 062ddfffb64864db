/* Decides what it reads, for a comparison with another decider: a line is {"grants": [...], "acc": n, "topic": "..."},
 * the answer a line with `allowed` or the reason why not. {"wide": "...", "narrow": "..."}: `covered` or `not_covered`. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "grants.h"
#include "topics.h"

static const char *decide(const cJSON *line)
{
    const cJSON *topic = cJSON_GetObjectItemCaseSensitive(line, "topic");
    struct grants *grants = grants_from_json(cJSON_GetObjectItemCaseSensitive(line, "grants"));
    const char *refused;

    CHECK(grants != NULL, "grants");
    refused = grants_refuse(grants, cJSON_GetObjectItemCaseSensitive(line, "acc")->valueint, topic->valuestring);
    grants_free(grants);
    return refused != NULL ? refused : "allowed";
}

static const char *compare(const cJSON *wide, const cJSON *narrow)
{
    return topics_cover(wide->valuestring, narrow->valuestring) ? "covered" : "not_covered";
}

int main(void)
{
    char *text = NULL;
    size_t size = 0;

    while (getline(&text, &size, stdin) > 0) {
        cJSON *line = cJSON_Parse(text);
        const cJSON *wide = cJSON_GetObjectItemCaseSensitive(line, "wide");

        CHECK(line != NULL, text);
        CHECK(puts(wide != NULL ? compare(wide, cJSON_GetObjectItemCaseSensitive(line, "narrow")) : decide(line)) >= 0,
              "stdout");
        cJSON_Delete(line);
    }
    free(text);
    return 0;
}
