/* image_link.c: see image_link.h. The private copy's DT_NEEDED is made to name the other image's private
 * copy, which the loader then finds among what it has loaded. */
#include "image_link.h"

#include "elf_check.h"
#include "elf_relink.h"
#include "memory.h"
#include "slot.h"
#include "stage.h"

#include <stdlib.h>
#include <string.h>

static unsigned link_total;  /* atomic: of all images */

bool image_any_link(void)
{
    return __atomic_load_n(&link_total, __ATOMIC_RELAXED) > 0;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Is this image what others need under that name? */
static bool is_library(const struct image *image, const char *needed)
{
    const char *name = image->facts.soname ? image->facts.soname : base_name(image->source);
    return strcmp(base_name(name), base_name(needed)) == 0;
}

/* Retained; NULL: no plugin is that library. */
static struct image *find_library(const char *needed, struct image *const *fresh, size_t fresh_count)
{
    struct image *found = NULL;
    for (size_t i = 0; i < fresh_count && !found; i++)
        if (is_library(fresh[i], needed))
            found = image_retain(fresh[i]);
    slot_lock();
    for (struct plugin *plugin = plugin_next(NULL); plugin && !found; plugin = plugin_next(plugin))
        if (plugin->live && is_library(plugin->live, needed))
            found = image_retain(plugin->live);
    slot_unlock();
    return found;
}

static void add_link(struct image *image, struct image *library)
{
    image->links = memory_resize(image->links, (image->link_count + 1) * sizeof *image->links);
    image->links[image->link_count++] = library;
    __atomic_add_fetch(&library->users, 1, __ATOMIC_ACQ_REL);
    __atomic_add_fetch(&link_total, 1, __ATOMIC_RELAXED);
}

bool image_link(struct image *image, struct image *const *fresh, size_t fresh_count, struct error *error)
{
    struct elf_link links[ELF_MAX_LINKS];
    size_t count = 0;
    for (const char **needed = image->facts.needed; *needed && count < ELF_MAX_LINKS; needed++) {
        bool is_system = elf_is_everywhere(*needed);
        struct image *library = is_system ? NULL : find_library(*needed, fresh, fresh_count);
        if (!library)
            continue;
        add_link(image, library);
        links[count++] = (struct elf_link){*needed, stage_path(library->stage)};
    }
    if (count == 0)
        return true;
    size_t size = stage_size(image->stage);
    unsigned char *bytes = elf_relink(stage_bytes(image->stage), &size, links, count, error);
    if (!bytes)
        return error_set_stage(error, "open", "%s: %s", image->source, strdupa(error->text));
    bool ok = stage_replace(image->stage, bytes, size, error);
    free(bytes);
    return ok;
}

void image_unlink(struct image *image)
{
    for (size_t i = 0; i < image->link_count; i++) {
        __atomic_sub_fetch(&image->links[i]->users, 1, __ATOMIC_ACQ_REL);
        __atomic_sub_fetch(&link_total, 1, __ATOMIC_RELAXED);
        image_release(image->links[i]);
    }
    free(image->links);
    image->links = NULL;
    image->link_count = 0;
}

bool image_is_used(const struct image *image)
{
    return __atomic_load_n(&image->users, __ATOMIC_ACQUIRE) > 0;
}
