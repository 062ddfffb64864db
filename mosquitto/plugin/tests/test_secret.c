#include "secret.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

static char folder[] = "/tmp/secret-XXXXXX";
static char path[64];

static void write_file(const char *content, size_t length, mode_t mode)
{
    FILE *file;

    (void)unlink(path);
    file = fopen(path, "wb");
    CHECK(file != NULL && fwrite(content, 1, length, file) == length && fclose(file) == 0, "write");
    CHECK(chmod(path, mode) == 0, "chmod");
}

static const struct {
    const char *name;
    const char *content;
    mode_t mode;
    const char *secret; /* NULL: refused */
    const char *why;
} cases[] = {
    {"with a newline", "s3cret\n", 0600, "s3cret", NULL},
    {"without a newline", "s3cret", 0600, "s3cret", NULL},
    {"readable by the group", "s3cret\n", 0640, "s3cret", NULL},
    {"all kinds of characters", "!\"#:~\\\n", 0600, "!\"#:~\\", NULL},
    {"readable by others", "s3cret\n", 0604, NULL, "others"},
    {"writable by others", "s3cret\n", 0602, NULL, "others"},
    {"a folder others may enter, had it been one", "s3cret\n", 0601, NULL, "others"},
    {"empty", "", 0600, NULL, "is empty"},
    {"a newline alone", "\n", 0600, NULL, "is empty"},
    {"two newlines", "s3cret\n\n", 0600, NULL, "one line"},
    {"carriage return", "s3cret\r\n", 0600, NULL, "one line"},
    {"two lines", "s3\ncret\n", 0600, NULL, "one line"},
    {"space at the end", "s3cret \n", 0600, NULL, "one line"},
    {"not ASCII", "s\xc3\xa9" "cret\n", 0600, NULL, "ASCII"},
};

static void check_case(size_t i)
{
    char why[256] = "";
    char *secret;

    write_file(cases[i].content, strlen(cases[i].content), cases[i].mode);
    secret = secret_read(path, why, sizeof why);
    CHECK((secret == NULL) == (cases[i].secret == NULL), cases[i].name);
    if (secret != NULL) CHECK(strcmp(secret, cases[i].secret) == 0, cases[i].name);
    if (secret == NULL) CHECK(strstr(why, cases[i].why) != NULL, cases[i].name);
    CHECK(strstr(why, "cret") == strstr(why, "cret_file"), "neither content nor path is repeated");
    secret_free(secret);
}

static void check_sizes(void)
{
    static const struct {
        const char *name;
        size_t length;
        int good;
    } sizes[] = {{"512", 512, 1}, {"513", 513, 0}, {"514", 514, 0}, {"a large file", 100000, 0}};
    char why[256] = "";

    for (size_t i = 0; i < COUNT(sizes); i++) {
        char *content = malloc(sizes[i].length + 1);
        char *secret;
        CHECK(content != NULL, "memory");
        memset(content, 'x', sizes[i].length);
        content[sizes[i].length] = '\n';
        write_file(content, sizes[i].length + 1, 0600);
        secret = secret_read(path, why, sizeof why);
        CHECK((secret != NULL) == sizes[i].good, sizes[i].name);
        CHECK(sizes[i].good || strstr(why, "too large") != NULL, sizes[i].name);
        secret_free(secret);
        free(content);
    }
}

static void check_nul(void)
{
    char why[256] = "";

    write_file("s3\0cret", 7, 0600);
    CHECK(secret_read(path, why, sizeof why) == NULL && strstr(why, "one line") != NULL, "a NUL does not cut it");
}

static void check_other_files(void)
{
    char why[256] = "";

    (void)unlink(path);
    CHECK(secret_read(path, why, sizeof why) == NULL && strstr(why, "No such file") != NULL, "no file");
    CHECK(secret_read(folder, why, sizeof why) == NULL && strstr(why, "regular file") != NULL, "a folder");
    CHECK(mkfifo(path, 0600) == 0, "mkfifo");
    CHECK(secret_read(path, why, sizeof why) == NULL && strstr(why, "regular file") != NULL, "a pipe, at once");
    (void)unlink(path);
    CHECK(symlink("/dev/zero", path) == 0, "symlink");
    CHECK(secret_read(path, why, sizeof why) == NULL && strstr(why, "regular file") != NULL, "an endless device");
    (void)unlink(path);
}

int main(void)
{
    CHECK(mkdtemp(folder) != NULL, "mkdtemp");
    (void)snprintf(path, sizeof path, "%s/file", folder);
    for (size_t i = 0; i < COUNT(cases); i++) check_case(i);
    check_sizes();
    check_nul();
    check_other_files();
    CHECK(rmdir(folder) == 0, "rmdir");
    secret_free(NULL);
    DONE();
    return 0;
}
