--- hotlua test: busted's own runner inside this host.
local commands = require "hotlua.commands"
local scope = require "hotlua.test.scope"

-- What busted's exit() is replaced by: the host ends in its own way.
local Exit = {}

local function run_busted(arguments)
  commands.need("busted.core", "lua-busted")
  local words = { "--ignore-lua", table.unpack(arguments) }
  words[0] = "hotlua test"
  _G.arg = words
  require("busted.compatibility").exit = function(code)
    error(setmetatable({ status = code ~= 0 and 1 or 0 }, Exit), 0)
  end
  require "hotlua.test"
  local make_loader = require "busted.modules.test_file_loader"
  package.loaded["busted.modules.test_file_loader"] = function(busted, loaders)
    scope.attach(busted)
    return make_loader(busted, loaders)
  end
  -- busted takes its own name for messages from the file that calls it.
  local run = load("local run = require 'busted.runner' run({ standalone = false }) return 0", "@hotlua test")
  local ok, problem = xpcall(run, function(problem)
    return getmetatable(problem) == Exit and problem or debug.traceback(tostring(problem))
  end)
  if ok then return 0 end
  if getmetatable(problem) == Exit then return problem.status end
  error(problem, 0)
end

return run_busted
