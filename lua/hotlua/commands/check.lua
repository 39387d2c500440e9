--- hotlua check OLD.so NEW.so [--json]: exit status 1 if a reload would be refused.
local check = require "hotlua.check"
local commands = require "hotlua.commands"

return function(arguments)
  local words, options = commands.parse("check", arguments, { ["--json"] = true })
  if options.help then return commands.run("help", { "check" }) end
  if #words ~= 2 then commands.misuse("check", "two files are needed") end
  local diff = check.files(words[1], words[2])
  local text = options.json and commands.json(diff, { why = true })
  io.write(text or check.text(diff, words[1], words[2]))
  return diff.compatible and 0 or 1
end
