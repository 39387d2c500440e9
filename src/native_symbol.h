/* native_symbol.h: addresses of plugins' functions for other plugins' C code, valid across reloads: a jump through
 * the slot's pointer to the live image's function. Such a call is not marked: it cannot be stopped or waited for. */
#ifndef HOTLUA_NATIVE_SYMBOL_H
#define HOTLUA_NATIVE_SYMBOL_H

/* Where the jump leads while the function is gone: reports that, once for each, and returns 0. */
void native_symbol_gone(void);
/* What native_symbol_gone calls (arch_*.c), with the place that the jump read. */
void native_symbol_report(void *volatile *place);

#endif
