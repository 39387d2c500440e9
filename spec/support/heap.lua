--- What the specs of typed heap objects share.
local hot = require "hotlua"

local M = {}

--- C source; $NAME in the text is replaced by parts.NAME, which is empty if it is not given.
function M.source(text, parts)
  return "#include <hotlua/plugin.h>\n" .. text:gsub("%$([A-Z]+)", parts or {}):gsub("%$[A-Z]+", "")
end

--- Is `path` in a report's list?
function M.has(list, path)
  for _, item in ipairs(list) do
    if item == path then return true end
  end
  return false
end

--- The `size` bytes at an address.
function M.bytes(address, size)
  return hot.string(hot.cast("char *", address), size)
end

return M
