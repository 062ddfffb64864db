#include "secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_MAX 512
#define FILE_MAX (SECRET_MAX + 1) /* and its newline */

static void refuse(char *why, size_t why_size, const char *rule, int error)
{
    (void)snprintf(why, why_size, "plugin_opt_secret_file: %s%s%s", rule, error != 0 ? ": " : "",
                   error != 0 ? strerror(error) : "");
}

/* Asked of the open descriptor, so that the file looked at is the file read. */
static bool is_private_file(int descriptor, char *why, size_t why_size)
{
    struct stat facts;

    if (fstat(descriptor, &facts) != 0) {
        refuse(why, why_size, "the file cannot be read", errno);
        return false;
    }
    if (!S_ISREG(facts.st_mode)) {
        refuse(why, why_size, "must name a regular file", 0);
        return false;
    }
    if ((facts.st_mode & S_IRWXO) != 0) {
        refuse(why, why_size, "the file must give no access to others (chmod o= on it)", 0);
        return false;
    }
    return true;
}

/* Reads until the end or until the buffer is full; -1 on an error. */
static ssize_t read_all(int descriptor, char *buffer, size_t size)
{
    size_t length = 0;

    while (length < size) {
        const ssize_t got = read(descriptor, buffer + length, size - length);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) break;
        length += (size_t)got;
    }
    return (ssize_t)length;
}

/* Visible ASCII alone: RFC 7617 leaves other bytes open, a NUL would cut the secret, a space or a carriage return
 * at the end is a slip of an editor. */
static bool is_secret(const char *text, size_t length, char *why, size_t why_size)
{
    if (length == 0) {
        refuse(why, why_size, "the file is empty", 0);
        return false;
    }
    if (length > SECRET_MAX) {
        refuse(why, why_size, "the file is too large for a secret (512 characters and a newline)", 0);
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (text[i] < 0x21 || text[i] > 0x7e) {
            refuse(why, why_size, "the file must hold one line of visible ASCII characters", 0);
            return false;
        }
    }
    return true;
}

static char *read_secret(int descriptor, char *why, size_t why_size)
{
    char buffer[FILE_MAX + 1]; /* one more than allowed, to see that there is more */
    char *secret = NULL;
    ssize_t got;
    size_t length;

    if (!is_private_file(descriptor, why, why_size)) return NULL;
    got = read_all(descriptor, buffer, sizeof buffer);
    if (got < 0) {
        refuse(why, why_size, "the file cannot be read", errno);
        return NULL;
    }
    length = (size_t)got;
    if (length > 0 && buffer[length - 1] == '\n') length--;
    if (is_secret(buffer, length, why, why_size)) {
        secret = strndup(buffer, length);
        if (secret == NULL) refuse(why, why_size, "out of memory", 0);
    }
    explicit_bzero(buffer, sizeof buffer);
    return secret;
}

char *secret_read(const char *path, char *why, size_t why_size)
{
    /* O_NONBLOCK: a named pipe in the place of the file must not stop the broker for ever. */
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *secret;

    if (descriptor < 0) {
        refuse(why, why_size, "the file cannot be opened", errno);
        return NULL;
    }
    secret = read_secret(descriptor, why, why_size);
    (void)close(descriptor); /* only read from: nothing can be lost here */
    return secret;
}

void secret_free(char *secret)
{
    if (secret == NULL) return;
    explicit_bzero(secret, strlen(secret));
    free(secret);
}
