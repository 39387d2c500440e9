--- Puts right what luv 1.44 gets wrong on a loop that is not its own alone: `uv.walk` crashes on handles
--- that luv did not make, and `uv.run` must not be entered twice.
local core = require "hotlua.core"

local function is_handle(value)
  return type(value) == "userdata" and debug.getmetatable(value) ~= nil
    and tostring(value):find("^uv_") ~= nil
end

--- @param uv table the module luv, just opened
return function(uv)
  --- Calls `callback` with each open handle that Lua made.
  function uv.walk(callback)
    local handles = {}
    for key, value in pairs(debug.getregistry()) do
      if math.type(key) == "integer" and is_handle(value) then handles[#handles + 1] = value end
    end
    for _, handle in ipairs(handles) do
      local ok, closing = pcall(uv.is_closing, handle)
      if ok and not closing then callback(handle) end
    end
  end

  local run = uv.run

  --- luv's own, noted so that the host does not enter the loop inside it.
  function uv.run(...)
    if core.is_running() then error("uv.run: the loop is already running", 2) end
    core.enter_loop(true)
    local results = table.pack(pcall(run, ...))
    core.enter_loop(false)
    if not results[1] then error(results[2], 0) end
    return table.unpack(results, 2, results.n)
  end
end
