--- Which sanitizer watches the program that runs the specs.
local M = {}

local maps <close> = assert(io.open("/proc/self/maps"))
M.is_tsan = maps:read("a"):find("libtsan", 1, true) ~= nil

return M
