/* The hooks as the callbacks see them: facts in, a verdict out, and what goes wrong in the log. */
#ifndef PROVISIONING_HOOKS_H
#define PROVISIONING_HOOKS_H

#include <stdbool.h>
#include <stddef.h>

#include "answer.h"
#include "options.h"
#include "question.h"

struct hooks;

/* NULL with the reason in *why. Nothing is asked yet. */
struct hooks *hooks_new(const struct options *options, char *why, size_t why_size);
void hooks_free(struct hooks *hooks);

/* Asks once, while Mosquitto loads its plugins. false, and the log says why, if the broker must not start. */
bool hooks_know_us(struct hooks *hooks);

/* What an allowed login may do, where it was asked for and told: `grants`, which are the caller's; else NULL. */
struct admission {
    struct grants *grants;
    uint64_t as_of;
};

enum verdict hooks_ask_login(struct hooks *hooks, const struct login *login, struct admission *admission);
enum verdict hooks_ask_access(struct hooks *hooks, const struct access *access);

/* Reads the secret again; if that fails the old one stays in use. The log says which. */
void hooks_read_secret(struct hooks *hooks, const char *path);

#endif
