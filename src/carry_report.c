/* carry_report.c: what the carry says: paths to values, why one does not fit, how types differ. */
#include "carry_internal.h"

#include "cdecl.h"

#include <string.h>

enum { MAX_PATH = 512, MAX_CHANGE = 240 };

static void write_path(const struct carry_run *run, const char *rest, char path[MAX_PATH])
{
    size_t length = (size_t)snprintf(path, MAX_PATH, "%s", run->pair->name);
    for (unsigned i = 0; i < run->depth && length < MAX_PATH; i++) {
        const struct carry_frame *frame = &run->frames[i];
        length += (size_t)snprintf(path + length, MAX_PATH - length, "%s", frame->path);
        if (frame->has_index && length < MAX_PATH)
            length += (size_t)snprintf(path + length, MAX_PATH - length, "[%llu]",
                                       (unsigned long long)frame->index);
    }
    if (length < MAX_PATH)
        snprintf(path + length, MAX_PATH - length, "%s", rest);
}

/* A variable's many leaves are not all listed, but all counted. */
void carry_report(struct carry_run *run, enum carry_verdict verdict, const char *path,
                  const char *why)
{
    char whole[MAX_PATH];
    bool is_variable = run->depth == 1 && !*path && !*run->frames[0].path && !run->frames[0].has_index;
    run->is_reset |= verdict == CARRY_RESET && run->depth == 1 && !*path;
    if (run->listed[verdict]++ >= CARRY_LISTED)
        return;
    if (!is_variable)
        write_path(run, path, whole);
    run->finding(run->context, verdict, is_variable ? run->pair->name : whole, why);
}

void carry_report_rest(struct carry_run *run)
{
    char text[MAX_PATH];
    for (unsigned verdict = 0; verdict < CARRY_VERDICTS; verdict++) {
        if (run->listed[verdict] <= CARRY_LISTED)
            continue;
        snprintf(text, sizeof text, "%.480s (%llu more)", run->pair->name,
                 (unsigned long long)(run->listed[verdict] - CARRY_LISTED));
        run->finding(run->context, verdict, text, "too many to list");
    }
}

/* "int", "unsigned int : 3" */
static void write_type(const struct type *type, unsigned bits, char *text, size_t size)
{
    size_t length = cdecl_print(text, size, type, "");
    if (bits && length < size)
        snprintf(text + length, size - length, " : %u", bits);
}

bool carry_report_unfit(struct carry_run *run, const struct carry_step *step, const char *said)
{
    char path[MAX_PATH], from[160], to[160];
    write_path(run, step->path, path);
    write_type(step->from_type, step->from_bits, from, sizeof from);
    write_type(step->to_type, step->to_bits, to, sizeof to);
    return error_set(run->error, "%s: '%s' is %s (%s), which does not fit the new type %s; set it "
                     "to a value that fits, or keep the type", run->carry->new_image->source, path,
                     said, from, to);
}

/* ---- Changes of types ---- */

struct change {
    char text[MAX_CHANGE];
    size_t length;
    unsigned left_off;
};

static void add_change(struct change *change, const char *text)
{
    size_t length = strlen(text) + 2;
    if (change->length + length + 8 > MAX_CHANGE) {
        change->left_off++;
        return;
    }
    change->length += (size_t)sprintf(change->text + change->length, "%s%s",
                                      change->length ? ", " : "", text);
}

static void describe_types(struct change *change, const struct type *from, unsigned from_bits,
                           const struct type *to, unsigned to_bits, const char *path)
{
    char old[100], new[100], text[MAX_CHANGE];
    write_type(from, from_bits, old, sizeof old);
    write_type(to, to_bits, new, sizeof new);
    if (strcmp(old, new) == 0)
        snprintf(text, sizeof text, "%.100s: %s", *path ? path : old,
                 from->kind == TYPE_ENUM ? "renumbered" : "changed");
    else
        snprintf(text, sizeof text, "%.60s%s%.80s -> %.80s", path, *path ? ": " : "", old, new);
    add_change(change, text);
}

static void describe_step(struct change *change, const struct carry_step *step, const char *prefix);

static void describe_steps(struct change *change, const struct carry_program *program,
                           const char *prefix)
{
    for (size_t i = 0; i < program->leaves.count; i++)
        describe_step(change, &program->leaves.list[i], prefix);
}

static void describe_step(struct change *change, const struct carry_step *step, const char *prefix)
{
    char path[MAX_PATH], text[MAX_CHANGE];
    const char *point = prefix[0] == 0 && step->path[0] == '.' ? step->path + 1 : step->path;
    snprintf(path, sizeof path, "%.200s%.200s", prefix, point);
    switch (step->kind) {
    case STEP_LOOP:
        strcat(path, "[]");
        if (!step->inner->is_same)
            describe_steps(change, step->inner, path);
        return;
    case STEP_GONE: case STEP_NEW:
        if (step->from_count != step->to_count)
            snprintf(text, sizeof text, "%.100s[%llu -> %llu]", path,
                     (unsigned long long)step->from_count,
                     (unsigned long long)step->to_count);
        else
            snprintf(text, sizeof text, "%c%.100s", step->kind == STEP_NEW ? '+' : '-', path);
        add_change(change, text);
        return;
    case STEP_TEXT:
        snprintf(text, sizeof text, "%.100s[%llu -> %llu]", path,
                 (unsigned long long)step->from_size,
                 (unsigned long long)step->to_size);
        if (!step->is_same)
            add_change(change, text);
        return;
    case STEP_POINTER: case STEP_COPY:
        return;
    default:
        if (!step->is_same)
            describe_types(change, step->from_type, step->from_bits, step->to_type, step->to_bits,
                           path);
    }
}

const char *carry_describe_change(struct carry_compiler *compiler,
                                  const struct carry_program *program)
{
    struct change change = {.length = 0};
    if (program->is_same)
        return NULL;
    describe_steps(&change, program, "");
    if (change.length == 0)
        add_change(&change, "fields moved");
    if (change.left_off > 0)
        return carry_text(compiler, "%s, and %u more", change.text, change.left_off);
    return carry_text(compiler, "%s", change.text);
}
