// Says which of its three streams are a terminal, then repeats every line of its stdin; "quit" ends it with 7.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    static char line[256];
    printf("terminals: %d %d %d\n", isatty(0), isatty(1), isatty(2));
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (!strcmp(line, "quit"))
            return 7;
        printf("got <%s>\n", line);
        fflush(stdout);
    }
    return 0;
}
