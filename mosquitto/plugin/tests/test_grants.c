#include "grants.h"

#include <cjson/cJSON.h>

#include "check.h"
#include "topics.h"

static struct grants *read_list(const char *text)
{
    cJSON *list = cJSON_Parse(text);
    struct grants *grants = grants_from_json(list);

    cJSON_Delete(list);
    return grants;
}

static void check_lists(void)
{
    static const char *const bad[] = {
        "{}", "null", "[1]", "[[]]", "[[\"a\"]]", "[[\"a\",1,1]]", "[[1,1]]", "[[\"\",1]]", "[[\"a\",0]]",
        "[[\"a\",8]]", "[[\"a\",-1]]", "[[\"a\",1.5]]", "[[\"a\",\"1\"]]", "[[\"a#\",1]]", "[[\"#/a\",1]]",
        "[[\"a+/b\",1]]", "[[\"a\",1],[\"b\",0]]",
    };

    for (size_t i = 0; i < COUNT(bad); i++) CHECK(read_list(bad[i]) == NULL, bad[i]);
    CHECK(grants_from_json(NULL) == NULL, "nothing");
    grants_free(NULL);
    CHECK(grants_size(NULL) == 0, "nothing");
}

static void check_decisions(void)
{
    static const struct {
        int acc;
        const char *topic, *refused;
    } cases[] = {
        {2, "own/c1/x", NULL},
        {1, "own/c1/x", "no_grant"},
        {1, "reply/c1", NULL},
        {4, "reply/c1", NULL},
        {4, "reply/+", "no_grant"},
        {2, "reply/c1", "no_grant"},
        {3, "reply/c1", "unknown_access"},
        {0, "reply/c1", "unknown_access"},
        {1, "reply/+", "malformed_topic"},
        {2, "own/c1/#", "malformed_topic"},
        {4, "own/c1/#/x", "malformed_topic"},
        {4, "$share/g/reply/c1", "shared_subscription"},
        {4, "$SYS/#", "no_grant"},
        {2, "", "malformed_topic"},
        {2, "own/c1/\xff", "malformed_topic"},
    };
    struct grants *grants = read_list("[[\"own/c1/#\",2],[\"reply/c1\",5]]");
    struct grants *none = read_list("[]");

    CHECK(grants != NULL && none != NULL, "lists");
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *refused = grants_refuse(grants, cases[i].acc, cases[i].topic);

        CHECK((refused == NULL) == (cases[i].refused == NULL), cases[i].topic);
        CHECK(refused == NULL || strcmp(refused, cases[i].refused) == 0, cases[i].topic);
        CHECK(grants_refuse(none, cases[i].acc, cases[i].topic) != NULL, "an empty list grants nothing");
    }
    CHECK(grants_size(grants) < 64, "small");
    grants_free(grants);
    grants_free(none);
}

static void check_lengths(void)
{
    char *topic = malloc(65537);

    CHECK(topic != NULL, "memory");
    memset(topic, 'a', 65536);
    topic[65536] = '\0';
    CHECK(!topics_is_filter(topic), "65536 bytes");
    topic[65535] = '\0';
    CHECK(topics_is_filter(topic) && topics_is_name(topic), "65535 bytes");
    free(topic);
}

int main(void)
{
    check_lists();
    check_decisions();
    check_lengths();
    DONE();
    return 0;
}
