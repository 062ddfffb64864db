#include "trouble.h"

#include "check.h"

int main(void)
{
    struct trouble trouble = {0};
    unsigned long unwritten = 99;

    CHECK(trouble_is_written(&trouble, 0, &unwritten) && unwritten == 0, "the first one, even in second 0");
    CHECK(!trouble_is_written(&trouble, 0, &unwritten), "a second one in the same second");
    CHECK(!trouble_is_written(&trouble, 0, &unwritten), "a third one");
    CHECK(trouble_is_written(&trouble, 1, &unwritten) && unwritten == 2, "the next second counts those left out");
    CHECK(trouble_is_written(&trouble, 2, &unwritten) && unwritten == 0, "and forgets them");
    DONE();
    return 0;
}
