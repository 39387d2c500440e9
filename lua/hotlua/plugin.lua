--- Plugins: the objects that hot.load returns, and when their reloads begin.
local build = require "hotlua.build"
local core = require "hotlua.core"
local event = require "hotlua.event"
local new_image = require("hotlua.image").new
local options_of = require "hotlua.options"
local reload = require "hotlua.reload"
local rehearse = require "hotlua.rehearse"
local reports = require "hotlua.report"
local retire = require "hotlua.retire"
local rollback = require "hotlua.rollback"
local shared = require "hotlua.shared"
local stamp_of = require("hotlua.stamp").of
local state = require "hotlua.state"
local task = require "hotlua.task"
local uv = require "luv"

local M = {}

local Plugin = {}
Plugin.__index = Plugin
Plugin.__name = "hotlua.plugin"

local owners = setmetatable({}, { __mode = "k" }) -- plugin object -> its private state
local open = {}                                   -- private states in the order of loading

local function owner_of(plugin)
  local owner = owners[plugin]
  if not owner then error(("plugin expected, got %s (call it with ':')"):format(type(plugin)), 3) end
  return owner
end

local function open_owner(plugin)
  local owner = owner_of(plugin)
  if owner.is_closed then error(("plugin '%s' is closed"):format(owner.name), 3) end
  return owner
end

-- Reloads -----------------------------------------------------------------------------------------

-- The program that writes a file may go on after its last event (gold does, through a mapping):
-- look once more.
local recheck_ms = 100

local late_event_ns = 50000000 -- after the end of a build its change is still taken to be the build's

-- Is there a file, and is it another than the one that a call of reload() has just failed to load?
local function is_worth_loading(owner)
  local now = stamp_of(owner.path)
  return now ~= nil and now ~= owner.failed_stamp
end

-- Throws away what the watcher has begun by itself, done or not.
local function drop_prefetched(owner)
  local prefetched = owner.prefetched
  owner.prefetched = nil
  if not prefetched then return end
  owner.loading[prefetched.seen] = nil
  if prefetched.handle then core.close(prefetched.handle, function() end) end
end

-- The watcher has done what it began when it saw that change; nobody may want it any more.
local function finish_prefetched(owner, seen, ok, handle, info)
  local prefetched = owner.loading[seen]
  owner.loading[seen] = nil
  if not prefetched then
    if handle then core.close(handle, function() end) end
    return
  end
  prefetched.ok, prefetched.handle, prefetched.info = ok, handle, info
  if prefetched.when_done then prefetched.when_done() end
end

-- Have the watcher begin the next change by itself, where nobody has to be asked before the image is open:
-- that saves waking one thread after another. Called whenever what such a load depends on may have changed.
local function arm(owner)
  if not owner.watch then return end
  local is_free = not owner.busy and not owner.is_building and not owner.on_group_change
    and not M.is_linked(owner)
  local request = is_free and reload.request(owner)
  if request then owner.watch:prefetch(request, owner.on_prefetched) else owner.watch:prefetch() end
end

local function run_change(owner)
  local seen, built, prefetched = owner.changed_at, owner.built, owner.prefetched
  owner.built, owner.prefetched = nil, nil
  local is_ours = built and seen >= built.began and seen <= built.ended + late_event_ns
  reload.run(owner, {
    kind = "change", seen = is_ours and built.began or seen, build_us = is_ours and built.us or nil,
    prefetched = prefetched,
  })
end

-- What the file looked like before it was read, as stamp_of() has it.
local function recheck_later(owner, before)
  if owner.is_closed then return end -- nobody would stop the alarm any more
  if owner.recheck then owner.recheck:stop() end
  owner.recheck = core.alarm(recheck_ms, function()
    local now = stamp_of(owner.path)
    if not owner.is_closed and now and now ~= before then M.on_change(owner, core.now()) end
  end)
end

-- Takes changes until none is waiting. One at a time: a newer one supersedes the one in progress.
local function pump(owner)
  if owner.busy or owner.is_building then return end
  if not owner.pending then return arm(owner) end
  owner.busy = "change"
  task.start("reloading " .. owner.name, function()
    owner.busy = coroutine.running()
    arm(owner)
    while owner.pending and not owner.is_closed do
      owner.pending = false
      if is_worth_loading(owner) then
        local before = stamp_of(owner.path)
        if owner.recheck then owner.recheck:stop() end -- it would compare with what an earlier run has read
        run_change(owner)
        recheck_later(owner, before)
      else
        drop_prefetched(owner)
      end
    end
    owner.busy = nil
    arm(owner)
  end)
end

--- The plugin's file may have changed.
--- @param seen integer ns
--- @param prefetched table? what the watcher loads already
function M.on_change(owner, seen, prefetched)
  drop_prefetched(owner)
  owner.prefetched = prefetched
  owner.pending = true
  owner.changed_at = seen
  if owner.on_group_change then return owner.on_group_change(seen) end
  if M.on_linked_change(owner, seen) then return drop_prefetched(owner) end
  pump(owner)
end

-- Runs `work(owner)` when no other transaction of the plugin is in progress.
local function exclusively(owner, work)
  local here = coroutine.running()
  if owner.busy == here then
    local message = "plugin '%s': a reload cannot be started inside a reload of the same plugin"
    error(message:format(owner.name), 3)
  end
  if owner.busy then
    if not task.can_wait() then
      local report = reports.new(owner.name, owner.live.generation)
      report.stage, report.error = "detect", "another reload of the plugin is in progress"
      return nil, report
    end
    task.wait(function() return not owner.busy end)
    if owner.is_closed then error(("plugin '%s' is closed"):format(owner.name), 3) end
  end
  owner.busy = here
  local results = table.pack(pcall(work, owner))
  owner.busy = nil
  arm(owner)
  pump(owner)
  if not results[1] then error(results[2], 0) end
  local report = results[2]
  if report.ok then return report end
  return nil, report
end

--- Loads the file as it is now; the policy is not asked. Returns when it is done.
--- @return table|nil report
--- @return table? report when the reload was refused
function Plugin:reload()
  local together, refusal = M.reload_linked(open_owner(self))
  if together then return together end
  if refusal then return nil, refusal end
  return exclusively(open_owner(self), function(owner)
    local seen = stamp_of(owner.path)
    local report = reload.run(owner, { kind = "reload" })
    owner.failed_stamp = not report.ok and not report.is_put_off and seen or nil
    return report
  end)
end

--- Puts the previous generation back, its state carried back.
--- @return table|nil report
--- @return table? report when there is none or it could not be
function Plugin:rollback()
  return exclusively(open_owner(self), function(owner)
    return rollback.run(owner)
  end)
end

-- Events ------------------------------------------------------------------------------------------

--- Adds a handler of an event.
--- @return table subscription with `:off()`
function Plugin:on(name, fn)
  local owner = owner_of(self)
  local subscription = event.add(owner.handlers, name, fn)
  arm(owner)
  return subscription
end

-- Looking -----------------------------------------------------------------------------------------

--- @return table { name, path, generation, build_id, loaded_at, functions, variables, reloads,
--- failures, images, last, heap = { objects, bytes, old_bytes } }
function Plugin:info()
  local owner = owner_of(self)
  local info = {
    name = owner.name, path = owner.path,
    generation = owner.live and owner.live.generation or owner.generation,
    build_id = owner.live and owner.live.build_id, loaded_at = owner.loaded_at,
    reloads = owner.reloads, failures = owner.failures, last = owner.last, images = {},
  }
  if owner.live then info.functions, info.variables = core.counts(owner.live.handle) end
  info.heap = {}
  info.heap.objects, info.heap.bytes, info.heap.old_bytes = core.heap_counts(owner.handle)
  for _, image in ipairs(owner.images) do
    local about = image:info()
    if about.state ~= "gone" then -- unloaded, and `unloaded` is about to say so
      info.images[#info.images + 1] = {
        generation = about.generation, state = about.state, why = about.why,
        base = about.base, size = about.size,
      }
    end
  end
  return info
end

--- @return table sorted list of { name, kind = "function" | "variable", signature, reason }
function Plugin:exports()
  return core.exports(open_owner(self).live.handle)
end

function Plugin:__tostring()
  local owner = owners[self]
  if owner.is_closed then return ("plugin: %s (closed)"):format(owner.name) end
  return ("plugin: %s (generation %d)"):format(owner.name, owner.live.generation)
end

-- State -------------------------------------------------------------------------------------------

--- A read-only view of a variable, to be closed.
function Plugin:borrow(name)
  return core.borrow(open_owner(self).handle, name)
end

--- The only writable view of a variable while it is open, to be closed. A reload waits for it.
function Plugin:borrow_mut(name)
  return core.borrow_mut(open_owner(self).handle, name)
end

--- Every carried variable as plain Lua data.
--- @return table
function Plugin:dump()
  return state.dump(open_owner(self))
end

--- Gives the variables the values of a table that dump() made, here or in another process.
--- @param values table
function Plugin:restore(values)
  return state.restore(open_owner(self), values)
end

-- The end -----------------------------------------------------------------------------------------

local function stop_watching(owner)
  for _, watch in ipairs(owner.watches) do watch:stop() end
  owner.watches = {}
  if owner.recheck then owner.recheck:stop() end
  owner.recheck = nil
  if owner.retry then owner.retry:stop() end
  owner.retry = nil
end

--- Unloads the plugin; later calls of its functions raise.
function Plugin:close()
  local owner = owner_of(self)
  if owner.is_closed then return end
  owner.is_closed, owner.busy = true, nil
  drop_prefetched(owner)
  stop_watching(owner)
  core.plugin_close(owner.handle)
  for i, other in ipairs(open) do
    if other == owner then
      table.remove(open, i)
      break
    end
  end
  local images = owner.kept
  if owner.live then table.insert(images, 1, owner.live) end
  owner.kept, owner.live, owner.refused = {}, nil, nil
  for _, image in ipairs(images) do retire.unload(owner, image, true) end
  core.release_callbacks(owner.handle)
end

Plugin.__close = Plugin.close

-- Loading -----------------------------------------------------------------------------------------

local function absolute(path)
  if path:sub(1, 1) == "/" then return path end
  return uv.cwd() .. "/" .. path:gsub("^%./", "")
end

--- What a plugin's file is called when no name is given: its file name less `lib` and `.so`.
function M.default_name(path)
  local name = path:match("[^/]*$"):gsub("%.so[%.%d]*$", "")
  return (name:gsub("^lib(.)", "%1"))
end

local function modified(path)
  local stat = uv.fs_stat(path)
  return stat and stat.mtime.sec + stat.mtime.nsec / 1e9
end

-- Is there a build, and is the plugin's file missing or older than a source?
local function needs_build(owner)
  if not owner.options.build then return false end
  local made = modified(owner.path)
  if not made then return true end
  for _, source in ipairs(owner.sources) do
    local changed = modified(source)
    if changed and changed > made then return true end
  end
  return false
end

local function start_watching(owner)
  local function watch(path, on_event)
    local handle, message = core.watch_file(path, on_event)
    if not handle then error(("cannot watch %s: %s"):format(path, message), 0) end
    owner.watches[#owner.watches + 1] = handle
    return handle
  end
  if not owner.options.watch then return end
  owner.watch = watch(owner.path, function(kind, seen, is_loading)
    if kind ~= "changed" then return end
    if not is_loading or owner.busy or owner.is_building then return M.on_change(owner, seen) end
    owner.loading[seen] = { seen = seen }
    M.on_change(owner, seen, owner.loading[seen])
  end)
  function owner.on_prefetched(...) finish_prefetched(owner, ...) end
  arm(owner)
  for _, source in ipairs(owner.sources) do
    watch(source, function(kind, seen)
      if kind ~= "changed" then return end
      if owner.options.build then
        build.on_source_change(owner, seen, pump)
        arm(owner)
      else
        M.on_change(owner, seen)
      end
    end)
  end
end

local function new_owner(path, options)
  local owner = {
    path = absolute(path), name = options.name or M.default_name(path), options = options, handlers = {},
    kept = {}, images = {}, watches = {}, sources = {}, loading = {},
    generation = 0, attempt = 0, reloads = 0, failures = 0,
  }
  if type(options.watch) == "table" then
    for i, source in ipairs(options.watch) do owner.sources[i] = absolute(source) end
  end
  for name, fn in pairs(options.on) do event.add(owner.handlers, name, fn) end
  function owner.retry_later()
    if owner.is_closed then return end
    owner.put_off = math.min((owner.put_off or 25) * 2, 2000)
    owner.retry = core.alarm(owner.put_off, function()
      if not owner.is_closed then M.on_change(owner, core.now()) end
    end)
  end
  return owner
end

-- The image that was live in the state before this one is live here; a file that has changed since is a
-- reload.
local function take_up(owner, handle)
  owner.generation = core.image_info(handle).generation
  owner.live = new_image(handle, owner.plugin, owner.generation)
  owner.images[1] = owner.live
  owner.loaded_at = os.time()
  owner.api_stamp = core.fill_api(owner.handle, owner.plugin.api)
end

-- Everything of hot.load that may fail; on failure nothing is left.
local function open_plugin(owner)
  if needs_build(owner) then
    local ok, message = build.run(owner)
    if not ok then return message end
  end
  local ahead = owner.ahead
  owner.ahead = nil
  local report = reload.run(owner, { kind = "load", prefetched = ahead })
  if not report.ok and not owner.live then return report.error end
  if not report.ok then task.on_error(report.error, "hot.load") end
  local ok, message = pcall(start_watching, owner)
  if not ok then return message end
  return nil
end

-- Loads the plugin of a new owner. Raises on failure.
local function load_owner(owner)
  local options = owner.options
  local handle, message = core.take_up(owner.name, owner.path)
  local left = handle and message
  if not handle then handle, message = core.plugin_create(owner.name, owner.path) end
  if not handle then error(message, 3) end
  owner.handle = handle
  owner.rehearsal = rehearse.read(options.rehearse)
  if owner.rehearsal and owner.rehearsal.shadow then core.record_calls(handle, owner.rehearsal.shadow) end
  if options.on_rehearsal then event.add(owner.handlers, "rehearsal", options.on_rehearsal) end
  core.set_guard(handle, options.guard.crash or "rollback", math.ceil(options.guard.timeout_ms or 0))
  owner.plugin = setmetatable({
    name = owner.name,
    api = core.new_api(handle), types = core.new_types(handle), enums = core.new_enums(handle),
  }, Plugin)
  owners[owner.plugin] = owner
  open[#open + 1] = owner
  if left then take_up(owner, left) end
  local ok, problem = xpcall(open_plugin, debug.traceback, owner)
  if ok and not problem then return owner.plugin end
  owner.plugin:close()
  error(problem, ok and 3 or 0)
end

--- Loads a plugin. Raises on failure, like `require`.
--- @param path string of the shared object
--- @param given table? options, see docs/reference.md
--- @return table plugin
function M.load(path, given)
  if type(path) ~= "string" then
    error(("bad argument #1 to 'load' (string expected, got %s)"):format(type(path)), 2)
  end
  local plugin = load_owner(new_owner(path, options_of.read(given)))
  return plugin
end

--- Has another thread begin what M.load would do, as far as nobody can tell.
--- @return table draft for M.finish or M.drop
function M.begin(path, given)
  local owner = new_owner(path, options_of.read(given))
  owner.ahead = reload.begin_ahead(owner)
  return owner
end

--- Does the rest of the load. Raises on failure.
--- @return table plugin
function M.finish(draft)
  local ok, result = pcall(load_owner, draft)
  M.drop(draft)
  if not ok then error(result, 0) end
  return result
end

--- Throws a draft away.
function M.drop(draft)
  if draft.ahead then reload.drop(draft.ahead) end
  draft.ahead = nil
end

--- The plugin's file has another name now. What holds the plugin or its functions notices nothing.
--- @param owner table the plugin's private state
--- @param name string what the plugin is called from now on
--- @param path string
--- @return boolean? true; nil when another plugin has that name
--- @return string? message
function M.rename(owner, name, path)
  local ok, message = core.plugin_rename(owner.handle, name, path)
  if not ok then return nil, message end
  drop_prefetched(owner)
  stop_watching(owner)
  owner.name, owner.plugin.name, owner.path = name, name, path
  start_watching(owner)
  M.on_change(owner, core.now()) -- it may have changed between the two watches
  return true
end

--- Is it the plugin's file, as it was loaded, that is at this path and has this inode?
--- @return boolean
function M.is_of_file(owner, path, inode)
  return core.is_of_file(owner.live.handle, path, inode)
end

--- The open plugin of that name, also one of another Lua state of the process; nil if there is none.
function M.get(name)
  for _, owner in ipairs(open) do
    if owner.name == name then return owner.plugin end
  end
  return shared.get(name)
end

--- The open plugins in the order of loading, then those of other Lua states.
--- @return table[]
function M.list()
  local list = {}
  for i, owner in ipairs(open) do list[i] = owner.plugin end
  for _, plugin in ipairs(shared.list()) do list[#list + 1] = plugin end
  return list
end

--- The private states of this state's plugins, in the order of loading.
function M.open_owners()
  return open
end

--- The private state of a plugin, for the rest of hotlua.
M.owner_of = owner_of

-- Closes the state's side of a plugin, whose live image the next state takes up.
local function leave(owner)
  owner.is_closed = true
  stop_watching(owner)
  for _, image in ipairs(owner.kept) do retire.unload(owner, image, true) end
  core.release_callbacks(owner.handle)
  core.plugin_leave(owner.handle)
end

local is_left_open = false

--- At the end of this state its plugins stay loaded, for the state that comes after it.
function M.leave_open()
  is_left_open = true
end

-- The first that no other plugin is linked with.
local function next_to_close()
  for _, owner in ipairs(open) do
    if not (owner.live and core.is_used(owner.live.handle)) then return owner end
  end
  return open[1]
end

--- Unloads every plugin, in the order of loading; one that others are linked with after those.
function M.close_all()
  if is_left_open then
    for _, owner in ipairs { table.unpack(open) } do leave(owner) end
    open = {}
    return
  end
  while open[1] do next_to_close().plugin:close() end
end

core.on_close(M.close_all)

local function owner_of_handle(handle)
  for _, owner in ipairs(open) do
    if owner.handle == handle then return owner end
  end
end

-- A crash was caught in a call of this plugin's generation.
core.on_crash(function(handle, generation, text)
  local owner = owner_of_handle(handle)
  if owner then rollback.after_crash(owner, generation, text) end
end)

-- The plugin itself raised an event (hotlua/plugin.h).
core.on_emit(function(handle, ...)
  local owner = owner_of_handle(handle)
  if not owner then return end
  event.fire(owner.handlers, "emit", function(message)
    task.on_error(message, "error in an 'emit' handler")
  end, ...)
end)

--- Where the lines of plugins' hot_log go; programs may replace it.
function M.log(plugin, level, text)
  io.stderr:write(("%s: %s: %s\n"):format(plugin.name, level, text))
end

core.on_log(function(handle, level, text)
  local owner = owner_of_handle(handle)
  if owner then M.log(owner.plugin, level, text) end
end)

return M
