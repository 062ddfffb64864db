#include "question.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

/* A byte becomes at most six: \u001f. */
#define GROWTH 6
/* Names, numbers and punctuation of the largest question, and the reserve that cJSON_PrintPreallocated wants. */
#define FRAME 256

static bool is_text(const char *text)
{
    return text != NULL && text_is_utf8(text, strlen(text));
}

static bool add(cJSON *body, const char *name, cJSON *value)
{
    if (value == NULL) return false;
    if (cJSON_AddItemToObjectCS(body, name, value)) return true;
    cJSON_Delete(value);
    return false;
}

/* By reference: passwords and topics may have 64 kB, and cJSON needs no copy to print them. */
static bool add_text(cJSON *body, const char *name, const char *text)
{
    return add(body, name, cJSON_CreateStringReference(text));
}

static bool add_number(cJSON *body, const char *name, int number)
{
    return add(body, name, cJSON_CreateNumber(number));
}

static enum question_result print(struct question *question, cJSON *body, size_t room)
{
    char *text = malloc(room);

    if (text == NULL) return QUESTION_NO_MEMORY;
    if (!cJSON_PrintPreallocated(body, text, (int)room, false)) {
        free(text);
        return QUESTION_NO_MEMORY;
    }
    *question = (struct question){text, strlen(text)};
    return QUESTION_READY;
}

enum question_result question_login(struct question *question, const struct login *login)
{
    enum question_result result = QUESTION_NO_MEMORY;
    size_t room;
    cJSON *body;

    if (!is_text(login->username) || !is_text(login->password) || !is_text(login->client_id)
        || (login->address != NULL && !is_text(login->address))) {
        return QUESTION_NOT_TEXT;
    }
    room = FRAME + GROWTH * (strlen(login->username) + strlen(login->password) + strlen(login->client_id)
                             + (login->address != NULL ? strlen(login->address) : 0));
    body = cJSON_CreateObject();
    if (body != NULL && add_text(body, "username", login->username) && add_text(body, "password", login->password)
        && add_text(body, "clientid", login->client_id)
        && (login->address == NULL || add_text(body, "address", login->address))
        && add_number(body, "protocol", login->protocol) && add(body, "clean", cJSON_CreateBool(login->clean))
        && (!login->grants || add(body, "grants", cJSON_CreateTrue()))) {
        result = print(question, body, room);
    }
    cJSON_Delete(body);
    return result;
}

enum question_result question_access(struct question *question, const struct access *access)
{
    enum question_result result = QUESTION_NO_MEMORY;
    size_t room;
    cJSON *body;

    if (!is_text(access->username) || !is_text(access->client_id) || !is_text(access->topic)) return QUESTION_NOT_TEXT;
    room = FRAME + GROWTH * (strlen(access->username) + strlen(access->client_id) + strlen(access->topic));
    body = cJSON_CreateObject();
    if (body != NULL && add_text(body, "username", access->username)
        && add_text(body, "clientid", access->client_id) && add_text(body, "topic", access->topic)
        && add_number(body, "acc", access->acc)) {
        result = print(question, body, room);
    }
    cJSON_Delete(body);
    return result;
}

enum question_result question_probe(struct question *question, const char *username)
{
    enum question_result result = QUESTION_NO_MEMORY;
    cJSON *body;

    if (!is_text(username)) return QUESTION_NOT_TEXT;
    body = cJSON_CreateObject();
    if (body != NULL && add_text(body, "username", username)) {
        result = print(question, body, FRAME + GROWTH * strlen(username));
    }
    cJSON_Delete(body);
    return result;
}

void question_free(struct question *question)
{
    free(question->text);
    *question = (struct question){0};
}
