/* native_symbol.c: see native_symbol.h. Called from plugins, also from their constructors and their own threads. */
#include "native_symbol.h"

#include "arch.h"
#include "slot.h"

#include <stddef.h>
#include <stdio.h>

__attribute__((visibility("default"))) void *hot_host_symbol(const char *plugin, const char *name);

/* hot_symbol of hotlua/plugin.h. */
void *hot_host_symbol(const char *plugin_name, const char *name)
{
    void *jump = NULL;
    struct plugin *plugin = plugin_name && name ? plugin_find(plugin_name) : NULL;
    if (!plugin)
        return NULL;
    slot_lock();
    if (plugin->live && image_find_export(plugin->live, name)) {
        struct slot *slot = slot_of(plugin, name);
        if (!slot->jump)
            slot->jump = arch_make_jump(&slot->native);
        jump = slot->jump;
    }
    slot_unlock();
    return jump;
}

void native_symbol_report(void *volatile *place)
{
    struct slot *slot = (struct slot *)((char *)place - offsetof(struct slot, native));
    if (__atomic_exchange_n(&slot->is_missed, true, __ATOMIC_RELAXED))
        return;
    fprintf(stderr, "hotlua: C called '%s' of plugin '%s', which is gone: it gets 0\n", slot->name,
            slot->plugin->name);
}

#ifndef ARCH_IS_KNOWN
void native_symbol_gone(void)
{
}
#endif
