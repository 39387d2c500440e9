/* hold.h: stopping the calls of other threads at a plugin's boundary for as long as its state is carried. A
 * call that is inside is waited for, one that comes waits; threads outside the plugin notice nothing. Calls
 * pay nothing for it: the slots are bound to an export whose thunk waits. */
#ifndef HOTLUA_HOLD_H
#define HOTLUA_HOLD_H

#include "thread.h"

/* From here on, calls that another thread begins wait. Those of this thread, and of threads that are inside a
 * held plugin already, go on into the live image. */
void hold_begin(struct plugin *plugin);
/* Wait up to `limit_us` microseconds until no other thread is inside the live image. False: `who` says who
 * is. */
bool hold_await(struct plugin *plugin, unsigned limit_us, char *who, size_t size);
/* Let them go, to the image that is live now. */
void hold_end(struct plugin *plugin);

/* Is this what slots are bound to while their plugin is held? */
bool hold_is_holding(const struct export *export);
/* frame_pin of a slot so bound, for C's own calls: after waiting, or with what is live where this thread
 * may pass. */
struct export *hold_pin(struct frame *frame, struct slot *slot);

/* Pin the live image for something else than a call of a slot, after waiting while the plugin is held. NULL
 * when it is closed or calls are nested too deeply. hold_leave unpins. */
struct frame *hold_enter(struct plugin *plugin, struct lua_State *L);
void hold_leave(struct frame *frame);
/* The same for a frame that is marked already, by a call that has no slot. */
void hold_pass_image(struct frame *frame);

#endif
