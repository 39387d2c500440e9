--- Plugins that another Lua state of the process has loaded: the same slots and variables, but what decides
--- about them stays with that state.
local core = require "hotlua.core"

local M = {}

local Shared = { __name = "hotlua.plugin" }

local states = setmetatable({}, { __mode = "k" }) -- plugin object -> { handle, ... }

local function state_of(plugin)
  local state = states[plugin]
  if not state then error(("plugin expected, got %s (call it with ':')"):format(type(plugin)), 3) end
  return state
end

local function live_image(state)
  local image = state.live_image(state.handle)
  if not image then error(("plugin '%s' is closed"):format(state.name), 3) end
  return image
end

Shared.__index = {}

--- @return table { name, path, generation, build_id, functions, variables }
function Shared.__index:info()
  local state = state_of(self)
  local info = { name = state.name }
  info.name, info.path = core.plugin_about(state.handle)
  local image = live_image(state)
  local about = core.image_info(image)
  info.generation, info.build_id = about.generation, about.build_id
  info.functions, info.variables = core.counts(image)
  return info
end

--- @return table sorted list of { name, kind, signature, reason }
function Shared.__index:exports()
  return core.exports(live_image(state_of(self)))
end

--- A read-only view of a variable, to be closed.
function Shared.__index:borrow(name)
  local state = state_of(self)
  return state.borrow(state.handle, name)
end

--- The only writable view of a variable while it is open, to be closed. A reload waits for it.
function Shared.__index:borrow_mut(name)
  local state = state_of(self)
  return state.borrow_mut(state.handle, name)
end

for _, name in ipairs { "reload", "rollback", "close", "on", "dump", "restore" } do
  Shared.__index[name] = function(self)
    error(("plugin '%s' was loaded by another Lua state: only that one can call its '%s' (in a worker, " ..
      "ask with hot.parent:send)"):format(state_of(self).name, name), 2)
  end
end

function Shared:__tostring()
  local name, _, is_open = core.plugin_about(states[self].handle)
  return ("plugin: %s (of another thread%s)"):format(name, is_open and "" or ", closed")
end

-- The table of one kind over a plugin, each access with the live image pinned.
local function pinned_view(handle, view)
  local meta = getmetatable(view)
  return setmetatable({}, {
    __index = core.pinned(handle, meta.__index), __newindex = core.pinned(handle, meta.__newindex),
  })
end

-- Functions that came with a reload are taken in when they are first asked for.
local function new_api(handle)
  local api = pinned_view(handle, core.new_api(handle))
  local meta = getmetatable(api)
  local stamp, read = core.fill_api(handle, api), meta.__index
  function meta.__index(_, name)
    stamp = core.fill_api(handle, api, stamp)
    local found = rawget(api, name)
    if found ~= nil then return found end
    return read(api, name)
  end
  return api
end

local known = {} -- name -> plugin object, so that hot.get gives the same one each time

--- The open plugin of that name of another Lua state, nil if there is none.
--- @param name string
function M.get(name)
  local handle = core.share(name)
  if not handle then return nil end
  if known[name] then return known[name] end
  local plugin = setmetatable({
    name = name, api = new_api(handle), types = pinned_view(handle, core.new_types(handle)),
    enums = pinned_view(handle, core.new_enums(handle)),
  }, Shared)
  states[plugin] = {
    name = name, handle = handle, live_image = core.pinned(handle, core.live_image),
    borrow = core.pinned(handle, core.borrow), borrow_mut = core.pinned(handle, core.borrow_mut),
  }
  known[name] = plugin
  return plugin
end

--- Those of all other states, sorted by name.
--- @return table[]
function M.list()
  local list = {}
  for _, name in ipairs(core.plugin_names()) do list[#list + 1] = M.get(name) end
  return list
end

return M
