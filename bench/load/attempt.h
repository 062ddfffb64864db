/* A CONNECT on its way, among others: begun, waited for with epoll, answered or closed. */
#ifndef ATTEMPT_H
#define ATTEMPT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "common.h"

enum outcome { PENDING, ACCEPTED, REFUSED, CLOSED, OUTCOMES };

struct attempt {
    const struct user *user;
    int64_t since; /* when it was to begin */
    int fd;
    bool sent, over; /* the latter is the caller's */
    uint8_t answer[4];
    unsigned got;
};

/* PENDING: epoll tells of it, with the attempt as data; CLOSED: it could not even begin. */
enum outcome attempt_begin(struct attempt *attempt, int epoll, int port, const struct user *user, int64_t since);
/* Something happened to it. Unless PENDING the attempt is over, and its connection open only if it was accepted. */
enum outcome attempt_go_on(struct attempt *attempt, int epoll);

#endif
