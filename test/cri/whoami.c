/* Says as whom it runs: the user it was started as, and the one it has become. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
    printf("started as %d, runs as %d\n", (int)getuid(), (int)geteuid());
    return 0;
}
