/* SPDX-License-Identifier: MIT
 *
 * picture.c — gnuplot draws a script. It works inside the folder of the report and without the
 * start-up files of its user, so that no path is ever read as a command and a picture depends on
 * nothing but its script and data.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gnuplot.h"
#include "bytes.h"
#include "output.h"
#include "show.h"

/* Does a file end so, but for white space? gnuplot's exit code says nothing of a full disk. */
static int ends_with(const char *path, const char *end)
{
    char tail[64];
    size_t n = 0, size = strlen(end);
    FILE *f = fopen(path, "rb");
    if (f && fseek(f, -(long)sizeof tail, SEEK_END) == 0) n = fread(tail, 1, sizeof tail, f);
    if (f) fclose(f);
    while (n > 0 && (tail[n - 1] == '\n' || tail[n - 1] == ' '))
        n--;
    return n >= size && memcmp(tail + n - size, end, size) == 0;
}

/* Run the script of a folder with its pictures going to TO.svg, TO.png and TO.pdf there; what it
 * says goes nowhere. */
static status run_gnuplot(const char *folder, const char *script, const char *to)
{
    char where[4300];
    snprintf(where, sizeof where, "to = '%s'", to);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        if (null >= 0) dup2(null, STDERR_FILENO);
        if (chdir(folder) == 0)
            execlp("gnuplot", "gnuplot", "-d", "-e", where, script, (char *)NULL);
        _exit(errno == ENOENT ? 126 : 127);
    }
    int how = 0;
    if (pid < 0 || waitpid(pid, &how, 0) < 0) return fail(ERR_MEMORY, "gnuplot: cannot be started");
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0) return OK;
    if (WIFEXITED(how) && WEXITSTATUS(how) == 126)
        return fail(ERR_FILE, "gnuplot: not found: expected gnuplot on PATH (run ci/setup)");
    return fail(ERR_DATA, "%s/%s: gnuplot failed: `gnuplot -d %s` in that folder says why", folder,
                script, script);
}

status picture_draw(const show *s, const char *id)
{
    static const struct picture {
        const char *extension, *end;
    } pictures[] = {{"svg", "</svg>"}, {"png", "IEND\xae\x42\x60\x82"}, {"pdf", "%%EOF"}};
    char script[1024], to[1024], partial[8192], path[8192], file[OUTPUT_PATH];
    snprintf(script, sizeof script, "%.900s.gp", id);
    snprintf(to, sizeof to, "%.900s.tmp.%ld", id, (long)getpid());
    status done = run_gnuplot(s->out, script, to);
    for (int i = 0; i < 3; i++) {
        const struct picture *p = &pictures[i];
        snprintf(partial, sizeof partial, "%s/%s.%s", s->out, to, p->extension);
        snprintf(path, sizeof path, "%s/%s.%s", s->out, id, p->extension);
        if (done == OK) done = output_file(path, "picture", file);
        if (done == OK && i == 2) gnuplot_forget_date(partial);
        if (done == OK && !(ends_with(partial, p->end) && rename(partial, file) == 0))
            done = fail(ERR_FILE, "%s: cannot be written: expected room on the disk", path);
        if (done != OK) unlink(partial);
    }
    return done;
}
