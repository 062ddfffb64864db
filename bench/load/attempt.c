#include "attempt.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mqtt.h"

static enum outcome end(struct attempt *attempt, enum outcome outcome)
{
    if (outcome != ACCEPTED) (void)close(attempt->fd);
    return outcome;
}

static bool send_connect(struct attempt *attempt)
{
    uint8_t bytes[MQTT_PACKET_MAX];
    const struct user *user = attempt->user;
    const size_t length = mqtt_connect(bytes, user->client_id, user->username, user->password);

    attempt->sent = true;
    /* A new socket's buffer takes it whole. */
    return length > 0 && send(attempt->fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static bool watch(struct attempt *attempt, int epoll, int operation)
{
    struct epoll_event event = {.events = attempt->sent ? EPOLLIN : EPOLLOUT, .data.ptr = attempt};

    return epoll_ctl(epoll, operation, attempt->fd, &event) == 0;
}

enum outcome attempt_begin(struct attempt *attempt, int epoll, int port, const struct user *user, int64_t since)
{
    bool connected;

    *attempt = (struct attempt){.user = user, .since = since, .fd = open_socket(port, &connected)};
    if (attempt->fd < 0) return CLOSED;
    if (connected && !send_connect(attempt)) return end(attempt, CLOSED);
    return watch(attempt, epoll, EPOLL_CTL_ADD) ? PENDING : end(attempt, CLOSED);
}

static enum outcome go_on_sending(struct attempt *attempt, int epoll)
{
    int error = 0;
    socklen_t size = sizeof error;

    if (getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) return end(attempt, CLOSED);
    if (!send_connect(attempt)) return end(attempt, CLOSED);
    return watch(attempt, epoll, EPOLL_CTL_MOD) ? PENDING : end(attempt, CLOSED);
}

enum outcome attempt_go_on(struct attempt *attempt, int epoll)
{
    ssize_t got;

    if (!attempt->sent) return go_on_sending(attempt, epoll);
    got = recv(attempt->fd, attempt->answer + attempt->got, sizeof attempt->answer - attempt->got, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return PENDING;
    if (got <= 0) return end(attempt, CLOSED);
    attempt->got += (unsigned)got;
    if (attempt->got < sizeof attempt->answer) return PENDING;
    return end(attempt, attempt->answer[3] == 0 ? ACCEPTED : REFUSED);
}
