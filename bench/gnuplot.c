/* SPDX-License-Identifier: MIT
 *
 * gnuplot.c — see gnuplot.h.
 */
#include "gnuplot.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bytes.h"

/* In single quotes of gnuplot nothing has a meaning but the quote, which is doubled. */
void gnuplot_quote(buffer *b, const char *text)
{
    buffer_add(b, "'");
    for (; *text; text++)
        buffer_add(b, *text == '\'' ? "''" : "%c", (unsigned char)*text < ' ' ? ' ' : *text);
    buffer_add(b, "'");
}

/* gnuplot reads the script from a pipe; its start-up files are not read. */
static status pipe_to_gnuplot(const char *script)
{
    int ends[2], how = 0;
    fflush(stdout);
    if (pipe(ends) != 0) return fail(ERR_MEMORY, "gnuplot: cannot be started");
    const pid_t pid = fork();
    if (pid == 0) {
        const int null = open("/dev/null", O_WRONLY);
        if (null >= 0) dup2(null, STDERR_FILENO);
        dup2(ends[0], STDIN_FILENO);
        close(ends[0]), close(ends[1]);
        execlp("gnuplot", "gnuplot", "-d", (char *)NULL);
        _exit(errno == ENOENT ? 126 : 127);
    }
    close(ends[0]);
    FILE *to = pid > 0 ? fdopen(ends[1], "w") : NULL;
    int good = to && fputs(script, to) >= 0;
    if (to ? fclose(to) != 0 : close(ends[1]) != 0) good = 0;
    if (pid < 0 || waitpid(pid, &how, 0) < 0) return fail(ERR_MEMORY, "gnuplot: cannot be started");
    if (WIFEXITED(how) && WEXITSTATUS(how) == 126)
        return fail(ERR_FILE, "gnuplot: not found: expected gnuplot on PATH (run ci/setup)");
    return good && WIFEXITED(how) && WEXITSTATUS(how) == 0 ? OK : fail(ERR_DATA, "gnuplot failed");
}

/* Can a file be made there? */
static status try_output(const char *partial, const char *out)
{
    const int made = open(partial, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (made < 0)
        return fail(ERR_FILE, "%s: cannot be created: expected a folder that can be written", out);
    close(made);
    return OK;
}

void gnuplot_forget_date(const char *path)
{
    static const char before[] = "/CreationDate (D:", never[] = "20000101000000";
    bytes all = {0};
    if (file_read(path, 0, &all) != OK) return;
    const size_t n = sizeof before - 1, count = (size_t)all.count;
    size_t at = 0;
    while (at + n <= count && memcmp(all.v + at, before, n) != 0)
        at++;
    FILE *f = at + n <= count ? fopen(path, "r+b") : NULL;
    if (f && fseek(f, (long)(at + n), SEEK_SET) == 0) fputs(never, f);
    if (f) fclose(f);
    free(all.v);
}

status picture_begin(picture *p, const char *out)
{
    *p = (picture){.out = out};
    if (!*out) return OK;
    TRY(output_file(out, "picture", p->file));
    snprintf(p->partial, sizeof p->partial, "%s.tmp.%ld", p->file, (long)getpid());
    return try_output(p->partial, out);
}

status picture_end(picture *p, const char *script, status s)
{
    if (s == OK) s = pipe_to_gnuplot(script);
    if (!*p->partial) return s;
    if (s == OK) gnuplot_forget_date(p->partial);
    if (s == OK && (access(p->partial, R_OK) != 0 || rename(p->partial, p->file) != 0))
        s = fail(ERR_FILE, "%s: cannot be written: expected room on the disk", p->out);
    if (s != OK) unlink(p->partial);
    return s;
}
