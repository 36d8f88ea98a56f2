// The OTLP receiver of the OpenTelemetry Collector, with nothing behind it: what arrives is written to standard output, as
// JSON, a line each. So are its addresses, both with a port of their own.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	factory := otlpreceiver.NewFactory()
	config := factory.CreateDefaultConfig()
	protocols := map[string]any{
		"grpc": map[string]any{"endpoint": "127.0.0.1:0"},
		"http": map[string]any{"endpoint": "127.0.0.1:0"},
	}
	if err := confmap.NewFromStringMap(map[string]any{"protocols": protocols}).Unmarshal(config); err != nil {
		return err
	}
	traces, err := consumer.NewTraces(func(_ context.Context, data ptrace.Traces) error {
		return write("traces", (&ptrace.JSONMarshaler{}).MarshalTraces, data)
	})
	if err != nil {
		return err
	}
	metrics, err := consumer.NewMetrics(func(_ context.Context, data pmetric.Metrics) error {
		return write("metrics", (&pmetric.JSONMarshaler{}).MarshalMetrics, data)
	})
	if err != nil {
		return err
	}
	settings := receivertest.NewNopSettings(factory.Type())
	settings.Logger = zap.NewExample()
	ofTraces, err := factory.CreateTraces(ctx, settings, config, traces)
	if err != nil {
		return err
	}
	ofMetrics, err := factory.CreateMetrics(ctx, settings, config, metrics)
	if err != nil {
		return err
	}
	for _, receiver := range []component.Component{ofTraces, ofMetrics} {
		if err := receiver.Start(ctx, componenttest.NewNopHost()); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

func write[T any](signal string, marshal func(T) ([]byte, error), data T) error {
	text, err := marshal(data)
	if err == nil {
		fmt.Printf("{\"signal\":%q,\"data\":%s}\n", signal, text)
	}
	return err
}
