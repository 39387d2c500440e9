--- Build on save: runs the build command when a watched source changes. The build's output is shown as the
--- compiler wrote it; what it makes is seen by the watch of the plugin's file.
local command = require "hotlua.command"
local core = require "hotlua.core"
local event = require "hotlua.event"
local reports = require "hotlua.report"
local task = require "hotlua.task"

local M = {}

--- Where the output of builds goes; programs may replace it.
function M.show(text)
  io.stderr:write(text)
end

local function arguments(build)
  if type(build) == "string" then return { "/bin/sh", "-c", build } end
  return build
end

local function describe(build)
  if type(build) == "string" then return build end
  return table.concat(build, " ")
end

-- Returns true, or false and a message with the command's output.
local function run_command(build)
  local ok, how, output = command.run(arguments(build), function(text) M.show(text) end)
  if ok then return true end
  return false, ("build failed (%s): %s\n%s"):format(how, describe(build), output)
end

local function run_function(build, plugin)
  local ok, result, message = xpcall(build, debug.traceback, plugin)
  if not ok then return false, "build failed: " .. tostring(result) end
  if result == false then
    return false, "build failed: " .. tostring(message or "the build function returned false")
  end
  return true
end

--- Runs the plugin's build, waiting until it ends.
--- @return boolean ok
--- @return string? message
function M.run(owner)
  local build = owner.options.build
  local is_command = type(build) == "string" or (type(build) == "table" and getmetatable(build) == nil)
  if is_command then return run_command(build) end
  return run_function(build, owner.plugin)
end

local function fail(owner, message, began)
  local report = reports.new(owner.name, owner.live and owner.live.generation or 0)
  report.stage, report.error = "build", message
  report.us.build = (core.now() - began) / 1000
  report.total_us = report.us.build
  owner.failures = owner.failures + 1
  owner.last = report
  local function on_error(m) task.on_error(m, "error in a 'failed' handler") end
  event.fire(owner.handlers, "failed", on_error, report)
end

--- A watched source changed: build, once more for what changes meanwhile. The plugin's own file is
--- left alone until the build has ended, well or not: then `on_end(owner)`.
--- @param seen integer ns when the change was seen
function M.on_source_change(owner, seen, on_end)
  owner.source_changed = seen
  if owner.is_building then return end
  owner.is_building = true
  task.start("building " .. owner.name, function()
    while owner.source_changed and not owner.is_closed do
      local began = owner.source_changed
      owner.source_changed = nil
      local ok, message = M.run(owner)
      local ended = core.now()
      owner.built = { began = began, ended = ended, us = (ended - began) / 1000 }
      if not ok then
        owner.pending = false
        fail(owner, message, began)
      end
    end
    owner.is_building = false
    on_end(owner)
  end)
end

return M
