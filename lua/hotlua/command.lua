--- Commands that run beside the loop: builds, and the specs of a candidate.
local core = require "hotlua.core"
local task = require "hotlua.task"

local M = {}

--- Runs a command, waiting for its end.
--- @param arguments string[]
--- @param on_output fun(text: string)? called with each piece as it comes
--- @return boolean ok did it exit with status 0
--- @return string how it ended: "exit status 1", "killed by signal 9", or why it could not begin
--- @return string output both streams
function M.run(arguments, on_output)
  local output = {}
  local kind, code = task.await(function(done)
    core.run_command(arguments, function(what, value)
      if what ~= "output" then return done(what, value) end
      output[#output + 1] = value
      if on_output then on_output(value) end
    end)
  end)
  local how = kind == "exit" and "exit status " .. code
    or kind == "signal" and "killed by signal " .. code or code
  return kind == "exit" and code == 0, how, table.concat(output)
end

return M
