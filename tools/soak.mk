# A plugin that changes all the time, well and badly, under the calls of two threads.
.PHONY: soak check-soak
TIME ?= 60

soak: all         ## change a plugin at random for TIME seconds (60), SEED to repeat a run
	$(BUILD)/hotlua tools/soak.lua $(TIME) $(SEED)

check-soak:       ## five seconds of that
	$(MAKE) soak TIME=5
