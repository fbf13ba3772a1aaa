package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/signposthq/signpost/client"
)

type flowCmd struct {
	List        flowListCmd        `cmd:"" help:"List the keys of flow control."`
	Get         flowGetCmd         `cmd:"" help:"Show a key: what bounds it, and how many messages wait."`
	Pause       flowPauseCmd       `cmd:"" help:"Stop deliveries of a key."`
	Resume      flowResumeCmd      `cmd:"" help:"Let a key's messages go again."`
	Pin         flowPinCmd         `cmd:"" help:"Set what bounds a key, whatever messages say."`
	Unpin       flowUnpinCmd       `cmd:"" help:"Let messages say again what bounds a key."`
	Reset       flowResetCmd       `cmd:"" help:"Begin a new period of a key's rate."`
	Parallelism flowParallelismCmd `cmd:"" help:"Show how many deliveries are under way, and how many may be."`
}

type flowListCmd struct {
	Search string `arg:"" optional:"" placeholder:"TEXT" help:"Only keys with this text in them."`
	JSON   bool   `name:"json" help:"Print each key as a line of JSON."`
	remote `embed:""`
}

func (c *flowListCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		keys, err := cl.FlowControlKeys(ctx, c.Search)
		if err != nil {
			return err
		}
		head := []string{"KEY", "WAITING", "PARALLELISM", "RATE", "STATE"}
		return writeList(o.stdout, c.JSON, keys, head, func(k *client.FlowControlKey) []string {
			return []string{k.Key, strconv.Itoa(k.WaitListSize), parallelismText(k), rateText(k), pausedText(k.Paused)}
		})
	})
}

func parallelismText(k *client.FlowControlKey) string {
	if k.ParallelismMax == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d", k.ParallelismCount, k.ParallelismMax) + pinnedText(k.PinnedParallelism)
}

func rateText(k *client.FlowControlKey) string {
	if k.RateMax == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d in %s", k.RateCount, k.RateMax, secondsText(k.RatePeriod)) + pinnedText(k.PinnedRate)
}

func pinnedText(pinned bool) string {
	if pinned {
		return ", pinned"
	}
	return ""
}

// flowText is flow control as a message has it.
func flowText(key string, parallelism, rate int, period int64) string {
	if key == "" {
		return ""
	}
	var bounds []string
	if rate > 0 {
		bounds = append(bounds, fmt.Sprintf("%d in %s", rate, secondsText(period)))
	}
	if parallelism > 0 {
		bounds = append(bounds, fmt.Sprintf("%d at once", parallelism))
	}
	return key + ": " + strings.Join(bounds, ", ")
}

// namedKey is what commands on one key have.
type namedKey struct {
	Key    string `arg:"" complete:"flow" help:"The key."`
	remote `embed:""`
}

type flowGetCmd struct {
	namedKey `embed:""`
	JSON     bool `name:"json" help:"Print JSON."`
}

func (c *flowGetCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		k, err := cl.FlowControlKey(ctx, c.Key)
		if err != nil {
			return err
		}
		var since string
		if k.RateMax > 0 {
			since = timeText(k.RatePeriodStart*1000, "")
		}
		return writeItem(o.stdout, c.JSON, k, [][2]string{
			{"key", k.Key}, {"state", pausedText(k.Paused)}, {"waiting", strconv.Itoa(k.WaitListSize)},
			{"parallelism", parallelismText(&k)}, {"rate", rateText(&k)}, {"period began", since},
		})
	})
}

type flowPauseCmd struct {
	namedKey `embed:""`
}

func (c *flowPauseCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		if err := cl.PauseFlowControl(ctx, c.Key); err != nil {
			return err
		}
		fmt.Fprintf(o.stderr, "Paused. Messages wait until key %s is resumed.\n", printable(c.Key))
		return nil
	})
}

type flowResumeCmd struct {
	namedKey `embed:""`
}

func (c *flowResumeCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		if err := cl.ResumeFlowControl(ctx, c.Key); err != nil {
			return err
		}
		fmt.Fprintln(o.stderr, "Resumed.")
		return nil
	})
}

type flowPinCmd struct {
	namedKey    `embed:""`
	Parallelism int      `short:"p" placeholder:"N" help:"Deliveries at once."`
	Rate        int      `short:"r" placeholder:"N" help:"Deliveries in each period."`
	Period      duration `placeholder:"TIME" help:"The period, with --rate (default 1s)."`
}

func (c *flowPinCmd) Run(ctx context.Context, o *outside) error {
	pin := client.FlowControl{Key: c.Key, Parallelism: c.Parallelism, Rate: c.Rate, Period: time.Duration(c.Period)}
	return c.use(func(cl *client.Client) error {
		if err := cl.PinFlowControl(ctx, pin); err != nil {
			return err
		}
		fmt.Fprintln(o.stderr, `Pinned, until "signpost flow unpin".`)
		return nil
	})
}

type flowUnpinCmd struct {
	namedKey    `embed:""`
	Parallelism bool `short:"p" help:"Its parallelism alone."`
	Rate        bool `short:"r" help:"Its rate alone."`
}

func (*flowUnpinCmd) Help() string {
	return `Without a flag, it unpins both. What was pinned holds until a message says something else.`
}

func (c *flowUnpinCmd) Run(ctx context.Context, o *outside) error {
	both := c.Parallelism == c.Rate
	return c.use(func(cl *client.Client) error {
		if err := cl.UnpinFlowControl(ctx, c.Key, c.Parallelism || both, c.Rate || both); err != nil {
			return err
		}
		fmt.Fprintln(o.stderr, "Unpinned. It stays as it is until the next message of the key.")
		return nil
	})
}

type flowResetCmd struct {
	namedKey `embed:""`
}

func (c *flowResetCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		if err := cl.ResetFlowControlRate(ctx, c.Key); err != nil {
			return err
		}
		fmt.Fprintln(o.stderr, "A new period has begun.")
		return nil
	})
}

type flowParallelismCmd struct {
	JSON   bool `name:"json" help:"Print JSON."`
	remote `embed:""`
}

func (c *flowParallelismCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		p, err := cl.GlobalParallelism(ctx)
		if err != nil {
			return err
		}
		return writeItem(o.stdout, c.JSON, p, [][2]string{{"under way", strconv.Itoa(p.Count)}, {"at most", strconv.Itoa(p.Max)}})
	})
}
