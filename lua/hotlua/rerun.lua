--- hotlua --watch main.lua: the script runs again in a fresh Lua state whenever its file changes, the plugins
--- stay loaded with their state. Called by interpreter.c.
local core = require "hotlua.core"
local plugin = require "hotlua.plugin"

local M = {}

local grace_ms = 500 -- a script that does not end when its loop is stopped gets an error then

local is_wanted, has_ended = false, false

local function on_change(path)
  local chunk, message = loadfile(path)
  if not chunk then
    io.stderr:write(("hotlua: %s (what runs goes on)\n"):format(message))
    return
  end
  is_wanted = true
  core.stop()
  if not has_ended and not M.interrupt then M.interrupt = core.interrupt_after(grace_ms) end
end

--- Begins to watch the script.
--- @param path string
function M.start(path)
  local watch, message = core.watch_file(path, function(kind)
    if kind == "changed" then on_change(path) end
  end)
  if not watch then error(message, 0) end
  M.watch = watch
end

--- The script has ended, by itself or stopped. Waits until its file changes.
--- @return boolean is it to run again? Otherwise a signal has ended the program
function M.finish()
  has_ended = true
  if M.interrupt then M.interrupt:stop() end
  core.drop_left()
  while not is_wanted and core.exit_status() == 0 do
    core.await(1)
    core.run()
    core.await(-1)
  end
  local runs_again = core.exit_status() == 0
  M.watch:stop()
  if runs_again then plugin.leave_open() end
  return runs_again
end

return M
