--- What a file looks like from outside: enough to tell one saving of it from the next.
local uv = require "luv"

local M = {}

--- @param path string
--- @return string? nil if there is no file
function M.of(path)
  local stat = uv.fs_stat(path)
  return stat and ("%d:%d:%d.%09d"):format(stat.ino, stat.size, stat.mtime.sec, stat.mtime.nsec)
end

return M
