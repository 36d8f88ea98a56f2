// Command validator holds rendered manifests to what a Kubernetes API server would accept, as strictly: fields that are
// unknown or there twice are refused. Built-in kinds go through the server's own decoding, defaulting and validation, custom
// ones through the schemas of their CustomResourceDefinitions. Pods must also fulfil the Pod Security Standard "restricted".
//
//	validator [-crds DIR] FILE...
//
// It prints one line for each problem, and exits with 1 if there are any.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

func main() {
	crds := flag.String("crds", "", "folder with CustomResourceDefinitions, however deep")
	flag.Parse()
	custom, err := loadCustomKinds(*crds)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	problems, objects := 0, 0
	for _, name := range flag.Args() {
		file, err := os.Open(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		err = eachDocument(file, func(document []byte) {
			objects++
			subject, found := validate(document, custom)
			for _, problem := range found {
				problems++
				fmt.Printf("%s: %s: %s\n", name, subject, problem)
			}
		})
		file.Close()
		if err != nil {
			problems++
			fmt.Printf("%s: %v\n", name, err)
		}
	}
	fmt.Printf("%d objects, %d problems\n", objects, problems)
	if problems > 0 {
		os.Exit(1)
	}
}

func eachDocument(source io.Reader, visit func([]byte)) error {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(source))
	for {
		document, err := reader.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		var content any
		// What does not parse is told of when it is validated.
		if err := yaml.Unmarshal(document, &content); err == nil && content == nil {
			continue
		}
		visit(bytes.TrimSpace(document))
	}
}

// validate tells what a document is, and what is wrong with it.
func validate(document []byte, custom customKinds) (subject string, problems []string) {
	json, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return "a document", []string{err.Error()}
	}
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := yaml.Unmarshal(json, &head); err != nil {
		return "a document", []string{err.Error()}
	}
	subject = head.Kind + " " + head.Metadata.Name
	if schema, isCustom := custom[head.APIVersion+"/"+head.Kind]; isCustom {
		return subject, schema.validate(json)
	}
	return subject, validateBuiltin(json)
}
