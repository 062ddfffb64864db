/* The JSON bodies of the questions to the hooks. */
#ifndef PROVISIONING_QUESTION_H
#define PROVISIONING_QUESTION_H

#include <stdbool.h>
#include <stddef.h>

struct question {
    char *text;
    size_t length;
};

enum question_result {
    QUESTION_READY,
    QUESTION_NOT_TEXT, /* something is missing or is not UTF-8: no JSON can carry it unchanged */
    QUESTION_NO_MEMORY
};

struct login {
    const char *username;
    const char *password;
    const char *client_id;
    const char *address; /* NULL: left out */
    int protocol;        /* 3, 4 or 5 */
    bool clean;
    bool grants; /* the answer should have them */
};

struct access {
    const char *username;
    const char *client_id;
    const char *topic;
    int acc; /* 1 read, 2 write, 4 subscribe */
};

/* On QUESTION_READY the question is to be given back to question_free. */
enum question_result question_login(struct question *question, const struct login *login);
enum question_result question_access(struct question *question, const struct access *access);
enum question_result question_probe(struct question *question, const char *username);

void question_free(struct question *question);

#endif
